"""Errors that reach a person. Each message is one sentence with the problem, its place and the remedy."""


class MarqueeError(Exception):
    """An error that a person can fix; a command prints the message alone and exits with `exit_code`."""

    exit_code = 1


class SettingsError(MarqueeError):
    """A setting is wrong, a name is unknown, or a server refused the credentials."""

    exit_code = 2


class UnreachableError(MarqueeError):
    """Kafka, Milvus or the store could not be reached within the time given."""

    exit_code = 2


class FatalKafkaError(MarqueeError):
    """Kafka ended this client (fenced, for one, or an offset is lost); only a new process can continue."""

    exit_code = 3

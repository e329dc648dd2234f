"""Errors that reach a person. Each message is one sentence that names what, where and how to mend it."""


class MarqueeError(Exception):
    """Something a person can mend; a command prints the message alone and exits with `exit_code`."""

    exit_code = 1


class SettingsError(MarqueeError):
    """A setting is wrong, a name is unknown, or the server refused who we are."""

    exit_code = 2


class UnreachableError(MarqueeError):
    """Kafka, Milvus or the store could not be reached within the time given."""

    exit_code = 2


class FatalKafkaError(MarqueeError):
    """Kafka ended this client for good (fenced, for one, or an offset is lost); only a new process can go on."""

    exit_code = 3

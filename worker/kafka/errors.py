"""Kafka's error codes by what happens next: exit, dead-letter, or retry."""

from confluent_kafka import KafkaError

from schemas.errors import FatalKafkaError, SettingsError
from worker.errors import AbortedError, RefusedError
from worker.events import Record

_RIGHTS = "check the MARQUEE_KAFKA__ settings and the rights"
_TRANSACTIONAL_ID = (
    "grant Describe and Write on this transactional id, as `marquee acls` prints it; it is named by MARQUEE_PREFIX, "
    "and by MARQUEE_WORKER__ID or MARQUEE_INDEXER__ID"
)
# Exit with code 2: an operator has to change a setting or a right first.
_REMEDIES = {
    KafkaError._AUTHENTICATION: _RIGHTS,
    KafkaError.SASL_AUTHENTICATION_FAILED: _RIGHTS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _TRANSACTIONAL_ID,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: (
        "lower MARQUEE_WORKER__SESSION_TIMEOUT_MS, which transactions follow, or raise the brokers' "
        "transaction.max.timeout.ms"
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "set MARQUEE_WORKER__SESSION_TIMEOUT_MS and MARQUEE_OUTCOMES__SESSION_TIMEOUT_MS to what the brokers' "
        "group.min.session.timeout.ms and group.max.session.timeout.ms allow"
    ),
}
# Dead-letter: the client or the broker refuses the record itself, and no retry helps. `_INVALID_DIFFERENT_RECORD` is reported
# for the neighbours of a record that is INVALID_RECORD.
_REFUSED_RECORDS = {
    KafkaError.MSG_SIZE_TOO_LARGE: "raise max.message.bytes of {topic}",
    KafkaError.INVALID_MSG: "look at the settings of {topic}",
    KafkaError.INVALID_RECORD: (
        "set cleanup.policy of {topic} to delete: a topic that is compacted takes no record without a key"
    ),
    KafkaError.RECORD_LIST_TOO_LARGE: "raise segment.bytes of {topic}",
    KafkaError._INVALID_DIFFERENT_RECORD: "look at the settings of {topic}",
    KafkaError._INVALID_ARG: "look at the settings of {topic}",
}

Undelivered = tuple[KafkaError, str]
"""The error of a record that was not delivered, and the record's topic."""


def raise_if_final(error: KafkaError) -> None:
    """Raise an error that no retry resolves.

    Raises:
        SettingsError: Kafka refuses this client until an operator changes a setting or a right.
        FatalKafkaError: the client is fenced or otherwise fatal, and a new process can go on.
    """
    if remedy := _REMEDIES.get(error.code()):
        raise SettingsError(f"Kafka refused us: {error.str()}; {remedy}")
    # A consumer reports its end by this code alone, without `fatal()`.
    if error.fatal() or error.code() == KafkaError._FATAL:
        raise FatalKafkaError(f"Kafka ended this client: {error.str()}; a new process can go on")


def refusal(undelivered: list[Undelivered]) -> RefusedError | None:
    """The refusal of a record that is at fault itself; a neighbour's is chosen last."""
    refused = [(error, topic) for error, topic in undelivered if error.code() in _REFUSED_RECORDS]
    refused.sort(key=lambda one: one[0].code() == KafkaError._INVALID_DIFFERENT_RECORD)
    for error, topic in refused[:1]:
        return RefusedError(f"{topic}: {error.str()}", _REFUSED_RECORDS[error.code()].format(topic=topic))
    return None


def refused_at_once(error: KafkaError, record: Record) -> RefusedError | AbortedError:
    """The error to raise where `produce` itself refuses a record."""
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        remedy = "the client itself takes no larger record; the event has to become smaller"
        return RefusedError(f"{record.topic}: {error.str()}", remedy)
    undelivered = [(error, record.topic)]
    return refusal(undelivered) or AbortedError(undelivered_words(undelivered))


def undelivered_words(undelivered: list[Undelivered]) -> str:
    """A sentence about the first record that was not delivered; empty where there is none."""
    for error, topic in undelivered[:1]:
        remedy = "; add partitions to it" if error.code() == KafkaError._UNKNOWN_PARTITION else ""
        return f"{topic} did not take a record: {error.str()}{remedy}"
    return ""

"""One table of Kafka's error codes by what happens next. librdkafka retries all other errors by itself."""

from dataclasses import dataclass
from enum import Flag, auto

from confluent_kafka import KafkaError, Message

from schemas.errors import FatalKafkaError, SettingsError
from schemas.kafka import refuses_us
from worker.errors import AbortedError, RefusedError
from worker.events import Record


class Next(Flag):
    """The step after an error."""

    RETRY = 0
    """The client, or the next attempt of the caller, goes on: brokers are away or slow, or a leader is elected."""
    EXIT = auto()
    """The process ends with code 2: an operator has to change a setting or a right first."""
    OTHER_VALUE = auto()
    """The value of a topic's option is refused: try a smaller one."""
    DEAD_LETTER = auto()
    """A produced record is refused itself: halve the batch, down to a dead letter."""
    SKIP = auto()
    """A fetched batch cannot be decoded: the client reports it under the offset of its first record and reads nothing behind it."""
    MISSING = auto()
    """There is no such topic or partition."""


@dataclass(frozen=True)
class Rule:
    """A step, and the remedy that a person is given."""

    next: Next
    remedy: str = ""


_RIGHTS = Rule(Next.EXIT, "check the MARQUEE_KAFKA__ settings and the rights")
_TOPIC = (
    "grant the right, or have the topics created by their owner and set MARQUEE_KAFKA__CREATE_TOPICS=false"
)
_ALLOWED = "allow it, or have the topics created by their owner and set MARQUEE_KAFKA__CREATE_TOPICS=false"
_OF_THE_TOPIC = "look at the settings of {topic}"

_TABLE = {
    KafkaError._AUTHENTICATION: _RIGHTS,
    KafkaError._SSL: _RIGHTS,
    KafkaError.SASL_AUTHENTICATION_FAILED: _RIGHTS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Rule(
        Next.EXIT,
        "grant Describe and Write on this transactional id, as `marquee acls` prints it; it is named by MARQUEE_PREFIX, "
        "and by MARQUEE_WORKER__ID or MARQUEE_INDEXER__ID",
    ),
    KafkaError.INVALID_TRANSACTION_TIMEOUT: Rule(
        Next.EXIT,
        "lower MARQUEE_WORKER__SESSION_TIMEOUT_MS, which transactions follow, or raise the brokers' "
        "transaction.max.timeout.ms",
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: Rule(
        Next.EXIT,
        "set MARQUEE_WORKER__SESSION_TIMEOUT_MS and MARQUEE_OUTCOMES__SESSION_TIMEOUT_MS to what the brokers' "
        "group.min.session.timeout.ms and group.max.session.timeout.ms allow",
    ),
    KafkaError.TOPIC_EXCEPTION: Rule(
        Next.EXIT,
        "set MARQUEE_PREFIX to one that no other topic resembles: Kafka's metrics cannot tell `.` from `_`",
    ),
    KafkaError.INVALID_REPLICATION_FACTOR: Rule(Next.EXIT, _TOPIC),
    KafkaError.INVALID_PARTITIONS: Rule(Next.EXIT, _TOPIC),
    KafkaError.POLICY_VIOLATION: Rule(Next.OTHER_VALUE, _ALLOWED),
    KafkaError.INVALID_CONFIG: Rule(Next.OTHER_VALUE, _ALLOWED),
    KafkaError.MSG_SIZE_TOO_LARGE: Rule(Next.DEAD_LETTER, "raise max.message.bytes of {topic}"),
    KafkaError.RECORD_LIST_TOO_LARGE: Rule(Next.DEAD_LETTER, "raise segment.bytes of {topic}"),
    KafkaError.INVALID_RECORD: Rule(
        Next.DEAD_LETTER,
        "set cleanup.policy of {topic} to delete: a topic that is compacted takes no record without a key",
    ),
    # Reported for the neighbours of a record that is INVALID_RECORD.
    KafkaError._INVALID_DIFFERENT_RECORD: Rule(Next.DEAD_LETTER, _OF_THE_TOPIC),
    KafkaError._INVALID_ARG: Rule(Next.DEAD_LETTER, _OF_THE_TOPIC),
    KafkaError.INVALID_MSG: Rule(Next.DEAD_LETTER | Next.SKIP, _OF_THE_TOPIC),
    KafkaError._BAD_MSG: Rule(Next.SKIP),
    KafkaError._BAD_COMPRESSION: Rule(Next.SKIP),
    KafkaError._UNKNOWN_PARTITION: Rule(Next.MISSING, "add partitions to it"),
    KafkaError._UNKNOWN_TOPIC: Rule(Next.MISSING),
    KafkaError.UNKNOWN_TOPIC_OR_PART: Rule(Next.MISSING),
}
_RETRY = Rule(Next.RETRY)

Undelivered = tuple[KafkaError, str]
"""The error of a record that was not delivered, and the record's topic."""


def rule(error: KafkaError) -> Rule:
    """The row of an error."""
    found = _TABLE.get(error.code(), _RETRY)
    return _RIGHTS if Next.EXIT not in found.next and refuses_us(error) else found


def raise_if_final(error: KafkaError) -> None:
    """Raise an error that no retry resolves.

    Raises:
        SettingsError: Kafka refuses this client until an operator changes a setting or a right.
        FatalKafkaError: the client is fenced or otherwise at its end, and a new process can go on.
    """
    found = rule(error)
    if Next.EXIT in found.next:
        raise SettingsError(f"Kafka refused this client: {error.str()}; {found.remedy}")
    # A consumer reports its end by this code alone, without `fatal()`.
    if error.fatal() or error.code() == KafkaError._FATAL:
        raise FatalKafkaError(f"Kafka ended this client: {error.str()}; a new process can go on")


def undecodable_at(message: Message) -> int | None:
    """The first offset of a batch that the client cannot decode; None where the message is another error, or none."""
    error, offset = message.error(), message.offset()
    if error is None or offset is None or offset < 0 or Next.SKIP not in rule(error).next:
        return None
    return offset


def refusal(undelivered: list[Undelivered]) -> RefusedError | None:
    """The refusal of a record that is at fault itself; a neighbour's is chosen last."""
    refused = [(error, topic) for error, topic in undelivered if Next.DEAD_LETTER in rule(error).next]
    refused.sort(key=lambda one: one[0].code() == KafkaError._INVALID_DIFFERENT_RECORD)
    for error, topic in refused[:1]:
        return RefusedError(f"{topic}: {error.str()}", rule(error).remedy.format(topic=topic))
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
        found = rule(error)
        remedy = f"; {found.remedy}" if Next.MISSING in found.next and found.remedy else ""
        return f"{topic} did not take a record: {error.str()}{remedy}"
    return ""

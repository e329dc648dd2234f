"""Records that a client or a broker does not take: for what they are, or for the topic's settings; and what mends it."""

from confluent_kafka import KafkaError, Message

from worker.errors import RefusedError, UndoneError
from worker.events import Record

# `_INVALID_DIFFERENT_RECORD` is of records that were sent together with one that is INVALID_RECORD.
REFUSED_FOR_WHAT_THEY_ARE = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError._INVALID_DIFFERENT_RECORD,
        KafkaError._INVALID_ARG,
    }
)
Undelivered = tuple[KafkaError, str]
"""What a broker or the client says of a record, and the topic that it was for."""


class Deliveries:
    """Collects delivery errors; librdkafka reports nothing else to us, so a delivered record costs no callback."""

    def __init__(self) -> None:
        self.errors: list[Undelivered] = []

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.errors.append((error, str(message.topic())))

    def take(self) -> list[Undelivered]:
        errors, self.errors = self.errors, []
        return errors


def refusal(undelivered: list[Undelivered]) -> RefusedError | None:
    """The first of these that is about the record itself, and no neighbour's."""
    refused = [(e, topic) for e, topic in undelivered if e.code() in REFUSED_FOR_WHAT_THEY_ARE]
    refused.sort(key=lambda one: one[0].code() == KafkaError._INVALID_DIFFERENT_RECORD)
    for error, topic in refused[:1]:
        return RefusedError(f"{topic}: {error.str()}", _remedy(error.code(), topic))
    return None


def refused_at_once(error: KafkaError, record: Record) -> RefusedError | UndoneError:
    """What follows from `produce` itself refusing a record."""
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        remedy = "the client itself takes no larger record; the event has to become smaller"
        return RefusedError(f"{record.topic}: {error.str()}", remedy)
    return refusal([(error, record.topic)]) or UndoneError(undelivered_words([(error, record.topic)]))


def undelivered_words(undelivered: list[Undelivered]) -> str:
    """The first failure, for a person; empty where there is none."""
    for error, topic in undelivered[:1]:
        mend = "; add partitions to it" if error.code() == KafkaError._UNKNOWN_PARTITION else ""
        return f"{topic} did not take a record: {error.str()}{mend}"
    return ""


def _remedy(code: int, topic: str) -> str:
    if code == KafkaError.MSG_SIZE_TOO_LARGE:
        return f"raise max.message.bytes of {topic}"
    if code == KafkaError.RECORD_LIST_TOO_LARGE:
        return f"raise segment.bytes of {topic}"
    if code == KafkaError.INVALID_RECORD:
        return f"set cleanup.policy of {topic} to delete: a topic that is compacted takes no record without a key"
    return f"look at the settings of {topic}"

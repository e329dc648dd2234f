"""An event: a record of `profiles` or of feedback, as the Kafka client or a child process read it."""

import time
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from schemas import dead_letter
from schemas.dead_letter import Reason
from schemas.headers import Headers
from worker.events.decode import MAX_EVENT_BYTES, Rejection

Partition = tuple[str, int]  # topic and number


class Event(Protocol):
    """A `confluent_kafka.Message` without an error: a polled one has a partition, an offset and a timestamp."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Headers | None: ...


def _now() -> tuple[int, int]:
    return TIMESTAMP_CREATE_TIME, int(time.time() * 1_000)


@dataclass(frozen=True, slots=True)
class CopiedEvent:
    """An event with the methods of a `Message` that no client of this process read. With a rejection it is a dead letter."""

    source: Partition
    at: int
    kept_key: bytes | None = None
    kept_value: bytes | None = None
    kept_timestamp: tuple[int, int] = field(default_factory=_now)
    kept_headers: Headers = field(default_factory=list)
    rejection: Rejection | None = None
    about_value: Headers = field(default_factory=list)
    """Headers of the dead letter that describe a value which is not kept."""

    def topic(self) -> str:
        return self.source[0]

    def partition(self) -> int:
        return self.source[1]

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.kept_key

    def value(self) -> bytes | None:
        """The value to decode; None where the event is rejected already."""
        return None if self.rejection else self.kept_value

    def timestamp(self) -> tuple[int, int]:
        return self.kept_timestamp

    def headers(self) -> Headers | None:
        return self.kept_headers


def read_event(source: Partition, record: dict[str, Any]) -> CopiedEvent:
    """The event of a record as `worker.kafka.undecodable` writes it; a record that is too large comes without its value."""
    headers: Headers = [(name, _bytes(value)) for name, value in record["headers"]]
    kind, at_ms = record["timestamp"]
    key, value, offset = _bytes(record["key"]), _bytes(record.get("value")), record["offset"]
    if "length" not in record:
        return CopiedEvent(source, offset, key, value, (kind, at_ms), headers)
    length = record["length"]
    error = f"the event has {length} bytes; at most {MAX_EVENT_BYTES} are read"
    about: Headers = [
        (dead_letter.VALUE_LENGTH, str(length).encode()),
        (dead_letter.VALUE_SHA256, record["sha256"].encode()),
    ]
    rejection = Rejection(Reason.TOO_LARGE, error)
    return CopiedEvent(source, offset, key, None, (kind, at_ms), headers, rejection, about)


def unreadable_event(source: Partition, offset: int, why: str) -> CopiedEvent:
    """The event at an offset whose record cannot be decoded: neither key nor value are known."""
    return CopiedEvent(source, offset, rejection=Rejection(Reason.UNREADABLE, why))


def source_of(event: Event) -> str:
    """`topic-partition-offset`, the name of an event."""
    return f"{event.topic()}-{event.partition()}-{event.offset()}"


def partition_of(message: Message) -> Partition:
    """The partition of a message, also of one that reports the partition's end or an error in it."""
    topic, partition = message.topic(), message.partition()
    assert topic is not None and partition is not None
    return topic, partition


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)

"""What moves through the worker: a batch of events, and what each of them becomes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from confluent_kafka import Message, TopicPartition

from schemas.dead_letter import Reason
from schemas.headers import Headers

Trigger = Literal["size", "deadline", "drained", "revoked"]
Place = tuple[str, int]  # topic and partition


class Event(Protocol):
    """A `confluent_kafka.Message` without an error: one that was polled has a place and a timestamp."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Headers | None: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order in which they were polled, of the assignments that `generation` stands for."""

    events: Sequence[Event]
    generation: int
    size: int = 0  # in bytes


# Not frozen: there is one of each for every event, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class Record:
    """A record to be produced; it goes to its event's partition number."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(slots=True)
class Answer:
    """An event and the one record that it ends in; `reason` where that is a dead letter."""

    event: Event
    record: Record
    reason: Reason | None = None


def positions_after(events: Iterable[Event]) -> list[TopicPartition]:
    """The offsets to commit once these events are done: for each partition the one after the last."""
    last = {(event.topic(), event.partition()): event.offset() for event in events}
    return [TopicPartition(topic, partition, offset + 1) for (topic, partition), offset in last.items()]


def source_of(event: Event) -> str:
    """`topic-partition-offset`, the name of an event's place."""
    return f"{event.topic()}-{event.partition()}-{event.offset()}"


def place_of(message: Message) -> Place:
    """Where a message is from, one that tells of a partition's end or of an error there, too."""
    topic, partition = message.topic(), message.partition()
    assert topic is not None and partition is not None
    return topic, partition

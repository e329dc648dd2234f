"""A batch of events, the polled events that it is cut from, and the records that it ends in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from confluent_kafka import TopicPartition

from schemas.dead_letter import Reason
from schemas.headers import Headers
from worker.events.event import Event

Trigger = Literal["size", "deadline", "drained", "revoked"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in the order in which they were polled, under the assignment that `epoch` numbers."""

    events: Sequence[Event]
    epoch: int
    size: int = 0  # in bytes


# Not frozen: one is made for every event, and a frozen one takes three times as long to make.
@dataclass(slots=True)
class Record:
    """A record to produce, to its event's partition number."""

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


class PolledEvents:
    """Polled events that are in no batch yet, in their order. Used by the poll thread alone."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        """Take the limits of a batch; an event that is larger is a batch of its own."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: list[Event] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, events: Sequence[Event]) -> None:
        """Put these events behind those that wait."""
        self._events += events
        self._bytes += sum(map(size_of, events))

    def clear(self) -> None:
        """Drop all events."""
        self._events, self._bytes = [], 0

    @property
    def full(self) -> bool:
        """Whether the next batch has reached a limit."""
        return len(self._events) >= self._max_events or self._bytes >= self._max_bytes

    @property
    def room(self) -> int:
        """How many events to poll for: as many as fill a batch if they are as large as those before them; 0 once full.

        A consumer returns as many as it is asked for, whatever their size.
        """
        if self.full:
            return 0
        events = self._max_events - len(self._events)
        mean = self._bytes // len(self._events) if self._events else 0
        return min(events, -(-(self._max_bytes - self._bytes) // mean)) if mean else events

    def next_batch(self) -> tuple[list[Event], int]:
        """Cut off the first events, as many as a batch may hold, and return them with their bytes."""
        if len(self._events) <= self._max_events and self._bytes <= self._max_bytes:
            batch, size = self._events, self._bytes
            self.clear()
            return batch, size
        totals = accumulate(map(size_of, self._events[: self._max_events]))
        fitting = [total for total in totals if total <= self._max_bytes] or [size_of(self._events[0])]
        batch, self._events = self._events[: len(fitting)], self._events[len(fitting) :]
        self._bytes -= fitting[-1]
        return batch, fitting[-1]


def size_of(event: Event) -> int:
    """Bytes of an event's key and value."""
    return len(event.value() or b"") + len(event.key() or b"")


def positions_after(events: Iterable[Event]) -> list[TopicPartition]:
    """The offsets to commit with the records of these events: for each partition the offset after its last event."""
    last = {(event.topic(), event.partition()): event.offset() for event in events}
    return [TopicPartition(topic, partition, offset + 1) for (topic, partition), offset in last.items()]

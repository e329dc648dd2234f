"""What was polled and not yet handed over: cut into batches of so many events, and of so many bytes."""

from collections.abc import Sequence
from itertools import accumulate

from worker.events.batch import Event


class Taken:
    """Events in the order in which they were polled. Used by the poll thread alone."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        """The limits of a batch; an event that is larger is a batch of its own."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: list[Event] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, events: Sequence[Event]) -> None:
        """Take these events behind those that wait."""
        self._events += events
        self._bytes += sum(map(size_of, events))

    def clear(self) -> None:
        """Drop everything."""
        self._events, self._bytes = [], 0

    @property
    def full(self) -> bool:
        """Whether a batch is waiting that may not grow any more."""
        return len(self._events) >= self._max_events or self._bytes >= self._max_bytes

    @property
    def room(self) -> int:
        """How many events to poll for: as many as fill a batch if they are as large as those before them; 0 once full.

        A consumer hands over as many as it is asked for, whatever their size.
        """
        if self.full:
            return 0
        events = self._max_events - len(self._events)
        mean = self._bytes // len(self._events) if self._events else 0
        return min(events, -(-(self._max_bytes - self._bytes) // mean)) if mean else events

    def next_batch(self) -> tuple[list[Event], int]:
        """The first events, as many as a batch may hold, and their bytes; the others stay."""
        if len(self._events) <= self._max_events and self._bytes <= self._max_bytes:
            batch, size = self._events, self._bytes
            self._events, self._bytes = [], 0
            return batch, size
        totals = accumulate(map(size_of, self._events[: self._max_events]))
        fitting = [total for total in totals if total <= self._max_bytes] or [size_of(self._events[0])]
        batch, self._events = self._events[: len(fitting)], self._events[len(fitting) :]
        self._bytes -= fitting[-1]
        return batch, fitting[-1]


def size_of(event: Event) -> int:
    """Bytes of an event's key and value."""
    return len(event.value() or b"") + len(event.key() or b"")

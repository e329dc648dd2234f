"""Partitions at which workers have ended, again and again: their next events are tried in another process first.

Such a partition stays pending for so long. An event at which the other process ended twice is never decoded here: it becomes a dead
letter at its place in the order, `crashed`. Where nothing could be found out, the events are answered as ever.
"""

import logging
from collections.abc import Callable, Sequence

from confluent_kafka import TopicPartition

from schemas.dead_letter import Reason
from schemas.settings import Settings
from worker.events import CopiedEvent, Event, Rejection
from worker.monitoring.metrics import Metrics
from worker.stream.attempts import ENDS
from worker.stream.pipeline import DEPTH
from worker.stream.rehearsal import DEATHS, Rehearsal

log = logging.getLogger(__name__)


class Rehearsals:
    """Used by the thread that polls, and by its consumer's callbacks."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._running: Rehearsal | None = None
        self._tried: set[int] = set()
        self.condemned: dict[int, dict[int, str]] = {}
        """By partition, offsets of events at which processes end, and how."""

    @property
    def positions(self) -> dict[int, int]:
        """Where each partition is whose events are being tried."""
        return dict(self._running.positions) if self._running else {}

    def due(self, positions: Sequence[TopicPartition], ends: Callable[[int], int]) -> dict[int, str]:
        """Which of these partitions must wait, and why; the events of those that are new here are tried from now on.

        Args:
            positions: where partitions could go on.
            ends: how many workers have ended there.
        """
        self._finish()
        due = [p for p in positions if ends(p.partition) >= ENDS and p.partition not in self._tried]
        if due and self._running is None:
            for place in due:
                log.warning(
                    "%d workers have ended at %s-%d@%d: trying its events in another process",
                    ends(place.partition),
                    place.topic,
                    place.partition,
                    place.offset,
                )
            # All that this worker can have in hand before it commits the first of it.
            self._running = Rehearsal(self._settings, due, DEPTH * self._settings.worker.batch_events)
            self._metrics.rehearsals.inc()
        why = "workers have ended at its next events, which are being tried in another process"
        return {place.partition: why for place in due}

    def apart(self, events: Sequence[Event]) -> list[Event]:
        """The events, each one that is condemned as a dead letter to be."""
        return [self._dead(event) if self._is_condemned(event) else event for event in events]

    def gone(self, partitions: Sequence[TopicPartition]) -> None:
        """The partitions are not ours any more."""
        for place in partitions:
            self._tried.discard(place.partition)
            self.condemned.pop(place.partition, None)
            if self._running:
                self._running.positions.pop(place.partition, None)
        if self._running and not self._running.positions:
            self.close()

    def close(self) -> None:
        if self._running:
            self._running.cancel()
            self._running = None

    def _finish(self) -> None:
        running = self._running
        if running is None or not running.done:
            return
        self._running = None
        self._tried |= set(running.positions)
        found = {
            n: condemned for n, condemned in running.progress.condemned.items() if n in running.positions
        }
        self.condemned |= found
        log.warning(
            "tried %d events in another process; crashed: %s%s",
            running.progress.answered,
            ", ".join(f"{n}@{offset}" for n, offsets in found.items() for offset in offsets) or "none",
            f"; the others were not tried: {running.problem}" if running.problem else "",
        )

    def _is_condemned(self, event: Event) -> bool:
        return event.offset() in self.condemned.get(event.partition(), ())

    def _dead(self, event: Event) -> CopiedEvent:
        how = self.condemned[event.partition()][event.offset()]
        error = f"a process that tried the event {how}, {DEATHS} times, after workers had ended at it"
        return CopiedEvent(
            (event.topic(), event.partition()),
            event.offset(),
            event.key(),
            event.value(),
            event.timestamp(),
            event.headers() or [],
            Rejection(Reason.CRASHED, error),
        )

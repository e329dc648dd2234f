"""Partitions at which workers ended again and again: an event of them may end processes, so a child process tries it first.

Ends are counted in the metadata that the group keeps beside a committed offset. A worker that gets a partition commits its
offset again, with a mark. A commit of results has no metadata, and an orderly stop and a revoke remove the mark. So a mark that
the next owner reads shows that a worker ended without either, and contains the number of earlier ends. A count that is lost (its
commit failed) costs another end, and never an event.

After `ENDS` ends at one offset the partition stays pending while a child tries its next events. An event at which two children
ended is never decoded here: it becomes a dead letter (`crashed`) in its place. In each other case the worker answers the events:
after the child tried them, after its deadline, or where it could not try them; the next end brings the next try.

Guaranteed: an event becomes `crashed` only after two processes ended at it, so workers that are killed from outside leave marks
and no dead letter. Marks cannot show the cause: an event that ends its worker leaves marks at all partitions of that worker, as
`kill -9` does. One case is certain: a partition without an event behind its committed offset ended no worker, and needs no child.
"""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from confluent_kafka import KafkaException, TopicPartition

from schemas.dead_letter import Reason
from schemas.settings import Settings
from worker.events import CopiedEvent, Event, Rejection
from worker.kafka.errors import raise_if_final
from worker.monitoring.metrics import Metrics
from worker.stream.children import DEATHS, REHEARSAL_SECONDS, Rehearsal
from worker.stream.pipeline import DEPTH

log = logging.getLogger(__name__)

# Ends of workers at one offset, after which a child process tries its events.
ENDS = 3
# Between two log lines about partitions that wait for a child.
LOG_SECONDS = 10.0

_MARK = re.compile(r"marquee:1:ends=(\d{1,6})@(\d{1,19})", re.ASCII)

Commit = Callable[[list[TopicPartition]], None]


def ends_of(metadata: str | None, offset: int) -> int:
    """The number of workers that ended at this committed offset; foreign metadata, and a mark of another offset, count zero."""
    found = _MARK.fullmatch(metadata or "")
    return int(found[1]) if found and int(found[2]) == offset else 0


def mark_of(ends: int, offset: int) -> str:
    """The metadata with so many ends."""
    return f"marquee:1:ends={min(ends, 999_999)}@{offset}"


class EndMarks:
    """The marks of this worker's partitions. Used by the poll thread, and by the rebalance callbacks."""

    def __init__(self, commit: Commit) -> None:
        """`commit` commits as a member of the group, and raises KafkaException."""
        self._commit = commit
        self._new: set[int] = set()
        self._marked: dict[int, tuple[int, int]] = {}  # offset, and the ends before us

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Note an assignment; a rewind is none, and no end of a worker."""
        for place in partitions:
            self._new.add(place.partition)
            self._marked.pop(place.partition, None)

    def mark(self, positions: Sequence[TopicPartition], begin: Mapping[int, int]) -> None:
        """Mark the new partitions among these, once, while none of their events is in flight.

        Args:
            positions: the committed ones, with their metadata.
            begin: first offsets of partitions without a committed offset.

        Raises:
            KafkaException: the outcome is unknown. The positions are to be read again; the mark is not repeated.
        """
        marks = []
        for place in positions:
            number = place.partition
            offset = place.offset if place.offset >= 0 else begin.get(number, -1)
            if number in self._new and offset >= 0:
                ends = ends_of(place.metadata, offset)
                self._marked[number] = offset, ends
                marks.append(TopicPartition(place.topic, number, offset, mark_of(ends + 1, offset)))
        self._new -= {place.partition for place in positions}
        if marks:
            self._commit(marks)

    def ends(self, partition: int) -> int:
        """The number of workers that had ended at the offset from which this one polls the partition."""
        return self._marked.get(partition, (0, 0))[1]

    def take_back(self, topic: str, positions: Mapping[int, int]) -> None:
        """Remove the marks of partitions that go in order, and that have committed nothing since.

        Args:
            topic: `profiles`.
            positions: of each partition, of which no batch may be in flight.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        places = [
            TopicPartition(topic, number, offset)
            for number, offset in positions.items()
            if self._marked.get(number, (None, 0))[0] == offset
        ]
        if not places:
            return
        try:
            self._commit(places)
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            log.info("marks not removed, so this stop counts as an end: %s", exception.args[0].str())

    def gone(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget these partitions, which another member owns."""
        for place in partitions:
            self._new.discard(place.partition)
            self._marked.pop(place.partition, None)


class Rehearsals:
    """Which partitions wait for a child process, and which events it condemned.

    Used by the poll thread, and by the rebalance callbacks.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._running: Rehearsal | None = None
        self._since = self._log_at = 0.0
        self._tried: set[int] = set()
        self.condemned: dict[int, dict[int, str]] = {}
        """By partition, offsets of events at which processes end, and how they end."""

    @property
    def positions(self) -> dict[int, int]:
        """The positions of the partitions whose events are being tried."""
        return dict(self._running.positions) if self._running else {}

    def due(
        self, positions: Sequence[TopicPartition], ends: Callable[[int], int], idle: Collection[int] = ()
    ) -> dict[int, str]:
        """The partitions among these that must wait, with the reason; a child tries the events of those that are new here.

        Args:
            positions: where partitions could go on.
            ends: the number of workers that ended there.
            idle: partitions without an event behind their position: no event of theirs ended a worker.
        """
        self._finish()
        due = [
            place
            for place in positions
            if ends(place.partition) >= ENDS and place.partition not in {*self._tried, *idle}
        ]
        if due and self._running is None:
            self._begin(due, ends)
        return dict.fromkeys((place.partition for place in due), self._reason()) if due else {}

    def apart(self, events: Sequence[Event]) -> list[Event]:
        """The events, each condemned one as a copy that becomes a dead letter."""
        return [self._dead(event) if self._is_condemned(event) else event for event in events]

    def gone(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget these partitions, which another member owns."""
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

    def _begin(self, due: Sequence[TopicPartition], ends: Callable[[int], int]) -> None:
        for place in due:
            log.warning(
                "%d workers ended at %s-%d@%d: a child process tries its events first",
                ends(place.partition),
                place.topic,
                place.partition,
                place.offset,
            )
        # The number of events that this worker can poll before it commits the first of them.
        self._running = Rehearsal(self._settings, due, DEPTH * self._settings.worker.batch_events)
        self._since = time.monotonic()
        self._log_at = self._since + LOG_SECONDS
        self._metrics.rehearsals.inc()

    def _reason(self) -> str:
        """The reason of a wait, for /health/ready; the log repeats it."""
        assert self._running is not None
        now = time.monotonic()
        reason = (
            f"{ENDS} or more workers ended at the next events, and a child process tries these since {now - self._since:.0f} s, "
            f"for at most {REHEARSAL_SECONDS:.0f} s ({self._running.stage})"
        )
        if now >= self._log_at:
            self._log_at = now + LOG_SECONDS
            log.warning("partitions %s wait: %s", sorted(self._running.positions), reason)
        return reason

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
            "a child process tried %d events; crashed: %s%s",
            running.progress.answered,
            ", ".join(f"{n}@{offset}" for n, offsets in found.items() for offset in offsets) or "none",
            f"; the worker answers the others untried: {running.problem}" if running.problem else "",
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

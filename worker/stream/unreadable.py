"""Partitions whose next batch the worker's client cannot decode: set aside until a child process has read it.

The client reports such a batch again and again, and reads nothing behind it. After `STRIKES` reports the partition is paused,
polling goes on with the others, and `BatchReading` reads the batch. Its events join the polled events, and the client goes on
behind them.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message, TopicPartition

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.events import (
    MAX_EVENT_BYTES,
    CopiedEvent,
    Partition,
    partition_of,
    read_event,
    unreadable_event,
)
from worker.kafka.errors import undecodable_at
from worker.kafka.undecodable import Order, Strikes, extent_of_batch
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.stream.children import DEATHS, ChildTask, room_in_container
from worker.stream.offsets import go_to
from worker.stream.session import Member

log = logging.getLogger(__name__)

_PART = "unreadable"  # at /health/ready
_RETRY_SECONDS = 1.0
# The address space of a child that reads a batch. Python, librdkafka and its threads take 0.4 GiB; the client holds a record
# twice while it decodes it, so records of some 500 MB can be read.
MEMORY_BYTES = 2 * 1024**3
# Such a child takes 0.3 s, and 1 s for each GB; brokers that are away take the rest.
READING_SECONDS = 60.0
_READ_SECONDS = 30.0
_PROBE_SECONDS = 30.0
_RECORD_BYTES = 16 * 1024**2  # of all values that one child returns
# One batch at a time in a process, so that the memory of two children is never added.
_one = threading.Lock()


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """The events of a batch, in order, and the offset at which the worker's own client goes on."""

    events: Sequence[CopiedEvent]
    next_offset: int


class BatchReading(ChildTask):
    """Reads a batch that the worker's client cannot decode, up to the events or the dead letters."""

    def __init__(self, settings: Settings, place: Partition, position: int, first: int) -> None:
        """`position` is the first offset to read, or OFFSET_BEGINNING; the client reports the batch as `first`."""
        self._settings, self._place = settings, place
        self._position, self._first = position, first
        self.found: ReadBatch | None = None
        super().__init__("read-aside", "worker.kafka.undecodable")

    def _work(self) -> None:
        with _one:
            self.found = None if self._cancelled else self._read()

    def _read(self) -> ReadBatch:
        for _ in range(DEATHS):
            code, lines = self._read_once()
            if code < 0:
                log.warning(
                    "child process ended by signal %d at %s-%d@%d", -code, *self._place, self._position
                )
                continue
            after = [line["next"] for line in lines if "next" in line]
            if after:
                return ReadBatch(
                    [read_event(self._place, line) for line in lines if "offset" in line], after[0]
                )
            failed = [line["error"] for line in lines if "error" in line]
            if not failed:
                raise UnreachableError("the brokers did not send the batch in time")
            return self._unreadable(failed[0])
        return self._unreadable(
            "the process that read it ended for lack of memory, or by a fault in a library, twice"
        )

    def _read_once(self) -> tuple[int, list[dict[str, Any]]]:
        """The exit code of a child and its lines; the code is negative where a signal ended it at the batch."""
        lines: list[dict[str, Any]] = []
        deadline = time.monotonic() + READING_SECONDS
        code = self._run_child(self._order(), lines.append, lambda: deadline - time.monotonic())
        if code == 0 or (code < 0 and lines and not self._cancelled):
            return code, lines
        raise UnreachableError(f"the child process that reads the batch ended with {code}")

    def _unreadable(self, why: str) -> ReadBatch:
        """Dead letters for the offsets of the batch, at most as many as one batch of the worker holds."""
        settings = self._settings
        config = kafka.reader(settings.kafka, settings.names.worker_group)
        begin, end = extent_of_batch(config, self._place, self._first, _PROBE_SECONDS)
        begin = max(begin, self._position)
        end = min(end, begin + settings.worker.batch_events)
        error = f"the Kafka client cannot decode the record: {why}"
        return ReadBatch([unreadable_event(self._place, offset, error) for offset in range(begin, end)], end)

    def _order(self) -> Order:
        settings = self._settings
        config = kafka.reader(settings.kafka, settings.names.worker_group) | {
            "receive.message.max.bytes": 2_147_483_647,
            # A broker sends one batch whole even so, and the child must hold no second one.
            "fetch.message.max.bytes": 1,
            "queued.min.messages": 1,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
        return Order(
            config=config,
            topic=self._place[0],
            partition=self._place[1],
            offset=self._position,
            records=settings.worker.batch_events,
            record_bytes=_RECORD_BYTES,
            max_value_bytes=MAX_EVENT_BYTES,
            memory_bytes=min(MEMORY_BYTES, room_in_container()),
            seconds=_READ_SECONDS,
        )


@dataclass(slots=True)
class _Held:
    """A partition that is set aside, and the reading of its batch; none between two attempts."""

    position: int
    first: int
    reading: BatchReading | None
    again_at: float = 0.0


class Unreadable:
    """Used by the poll thread, and by the rebalance callbacks."""

    def __init__(self, settings: Settings, member: Member, health: Health, metrics: Metrics) -> None:
        self._settings, self._member = settings, member
        self._health, self._metrics = health, metrics
        self._begun: dict[Partition, int] = {}
        self._strikes = Strikes()
        self._held: dict[Partition, _Held] = {}
        self._after: dict[Partition, int] = {}  # where batches that were read aside end

    def without(self, messages: Sequence[Message]) -> list[Message]:
        """Messages of one poll, without those behind the first undecodable batch of each partition; reports are counted."""
        failed: set[Partition] = set()
        left = []
        for message in messages:
            if undecodable_at(message) is not None:
                if partition_of(message) not in failed:
                    self._strike(message)
                failed.add(partition_of(message))
            elif message.error() is not None or partition_of(message) not in failed:
                left.append(message)
        return left

    def begun(self, positions: Sequence[TopicPartition]) -> None:
        """Begin at these positions; called before the client is assigned them."""
        held = self._drop(positions)
        if held:  # a partition that is assigned in pause is left alone for a second
            self._member.resume(held)
        self._begun |= {(p.topic, p.partition): p.offset for p in positions}

    def gone(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget these partitions, which another member owns."""
        self._drop(partitions)

    def others(self, assignment: Sequence[TopicPartition]) -> list[TopicPartition]:
        """The partitions that may be resumed."""
        return [p for p in assignment if (p.topic, p.partition) not in self._held]

    def take(self) -> list[CopiedEvent]:
        """The events of one batch that a child has read; called while no polled event waits."""
        for place, held in list(self._held.items()):
            reading = held.reading
            if reading is None:
                if time.monotonic() >= held.again_at:
                    held.reading = BatchReading(self._settings, place, held.position, held.first)
            elif not reading.done:
                continue
            elif reading.found is not None:
                return self._go_on(place, held, reading.found.events, reading.found.next_offset)
            else:
                self._wait(place, held, reading.problem)
        return []

    def close(self) -> None:
        for held in self._held.values():
            if held.reading:
                held.reading.cancel()

    def _strike(self, message: Message) -> None:
        place, first, error = partition_of(message), undecodable_at(message), message.error()
        assert first is not None and error is not None
        if place in self._held:
            return
        position = self._position(place, first)
        straight_on = self._after.get(place) == position
        if not straight_on and not self._strikes.out(message):
            # Events that the client may have prefetched behind the batch are dropped.
            self._begun[place] = position
            go_to(self._member, [TopicPartition(*place, position)])
            return
        log.warning(
            "cannot decode the batch of %s-%d@%d (%s): reading it in another process",
            *place,
            first,
            error.str(),
        )
        self._member.pause([TopicPartition(*place)])
        self._held[place] = _Held(position, first, BatchReading(self._settings, place, position, first))
        self._metrics.read_aside.inc()

    def _position(self, place: Partition, first: int) -> int:
        """The next offset that is wanted: the batch's first, unless reading has begun inside the batch."""
        begun = self._begun.get(place, first)
        if begun >= 0:
            return max(begun, first)
        read_before = self._member.position([TopicPartition(*place)])[0].offset >= 0
        return first if read_before else begun

    def _go_on(
        self, place: Partition, held: _Held, events: Sequence[CopiedEvent], next_offset: int
    ) -> list[CopiedEvent]:
        log.warning(
            "read %s-%d@%d aside: %d events, going on at %d", *place, held.first, len(events), next_offset
        )
        position = TopicPartition(*place, next_offset)
        self.begun([position])
        self._after[place] = next_offset
        go_to(self._member, [position])
        return list(events)

    def _wait(self, place: Partition, held: _Held, problem: str | None) -> None:
        sentence = f"the batch at {place[0]}-{place[1]}@{held.first} cannot be decoded, and reading it in another process failed: {problem}"
        log.warning(sentence)
        self._health.set(_PART, sentence)
        held.reading, held.again_at = None, time.monotonic() + _RETRY_SECONDS

    def _drop(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Forget these partitions, and return those that were set aside."""
        places = [(p.topic, p.partition) for p in partitions]
        held = [place for place in places if place in self._held]
        for place in held:
            if reading := self._held.pop(place).reading:
                reading.cancel()
        for place in places:
            self._strikes.forget(place)
            self._after.pop(place, None)
            self._begun.pop(place, None)
        if not self._held:
            self._health.set(_PART, None)
        return [TopicPartition(*place) for place in held]

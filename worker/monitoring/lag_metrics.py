"""How many events wait in each partition: those behind the position that was committed, as Kafka's own tools count lag.

librdkafka's `consumer_lag` counts from offsets that the consumer commits, and ours go into transactions. What was polled and is
being answered waits as well: with Milvus or the coordinator away, a few thousand events stand there, and no other.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_END, TopicPartition
from prometheus_client import CollectorRegistry, Gauge


class LagMetrics:
    """The polling thread tells of partitions and of the client's reports, the publishing thread of what was committed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Gauge(
            "marquee_consumer_lag",
            "Events whose result is not committed yet, by partition: waiting in Kafka, or being answered.",
            ["partition"],
            registry=registry,
        )
        self._positions: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        self._idle: dict[int, int] = {}
        self._lock = threading.Lock()

    def assigned(self, positions: Iterable[TopicPartition]) -> None:
        """These partitions are ours, and answered up to these positions: offsets, the beginning or the end."""
        with self._lock:
            self._positions |= {position.partition: position.offset for position in positions}

    def committed(self, positions: Iterable[TopicPartition]) -> None:
        """The positions after what was committed; a partition that has gone meanwhile is another worker's to tell of."""
        with self._lock:
            self._positions |= {
                position.partition: position.offset
                for position in positions
                if position.partition in self._positions
            }

    def gone(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions are not ours any more."""
        with self._lock:
            for gone in partitions:
                self._positions.pop(gone.partition, None)
        for gone in partitions:
            self._lag.remove(str(gone.partition))

    def read(self, partitions: Mapping[str, Any], *, in_hand: bool) -> None:
        """Take in a report of the client on the topic's partitions (STATISTICS.md of librdkafka).

        Args:
            in_hand: whether something that was polled is not committed yet, or will be polled again.
        """
        with self._lock:
            positions = dict(self._positions)
        before, self._behind = self._behind, {}
        for report in partitions.values():
            number, position, end = (
                report["partition"],
                positions.get(report["partition"]),
                report["ls_offset"],
            )
            if position is not None and end >= 0:  # the end comes with the first answer to a fetch
                # Behind a transaction that hangs events wait as well.
                end_of_all = max(end, report.get("hi_offset", end))
                self.waiting(number, max(0, end_of_all - _answered_up_to(position, report, in_hand)))
                if 0 <= position < end and not in_hand:
                    self._behind[number] = position
        self._idle = {n: position for n, position in self._behind.items() if before.get(n) == position}

    def positions(self) -> dict[int, int]:
        """The position of each partition after what is committed."""
        with self._lock:
            return dict(self._positions)

    def behind(self) -> dict[int, int]:
        """Committed positions that stood before their partition's end in two reports on end, while nothing was in hand."""
        return dict(self._idle)

    def waiting(self, partition: int, events: int) -> None:
        """So many events wait in a partition."""
        self._lag.labels(str(partition)).set(events)


def _answered_up_to(position: int, report: Mapping[str, Any], in_hand: bool) -> int:
    if position == OFFSET_END:
        return int(report["ls_offset"])
    if not in_hand:
        # Behind the last event lie marks of a producer's transactions, which the client passes over by itself.
        position = max(position, int(report["app_offset"]))
    return max(position, int(report["lo_offset"]), 0)

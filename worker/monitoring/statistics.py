"""librdkafka's statistics of the worker's consumer (STATISTICS.md of librdkafka): brokers, lag, reachability."""

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import OFFSET_END, TopicPartition
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from worker.monitoring.declarations import Declared, counter, gauge
from worker.monitoring.http import Health

if TYPE_CHECKING:
    from worker.monitoring.metrics import Metrics

_MICROSECONDS = 1e6
# The connection for the requests of the group alone.
_COORDINATOR = "GroupCoordinator"


class KafkaMetrics(Declared):
    """The consumer's view of the cluster, from the client's statistics."""

    _brokers_up = gauge("marquee_kafka_brokers_up", "Brokers that the consumer is connected to.")
    _round_trip = gauge(
        "marquee_kafka_round_trip_seconds",
        "99th percentile of a broker's responses in the last seconds; a fetch may wait there for 5 ms.",
        broker=(),
    )
    _prefetched = gauge(
        "marquee_kafka_prefetched_events",
        "Events fetched and not yet polled. 0 under load: Kafka is the limit.",
    )
    _received = counter("marquee_kafka_received_bytes", "Bytes received by the consumer.")
    _disconnects = counter("marquee_kafka_disconnects", "Connections to brokers that ended.")
    _timeouts = counter("marquee_kafka_request_timeouts", "Requests that no broker answered in time.")
    _rebalances = counter("marquee_kafka_rebalances", "Rebalances of the consumer's group.")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__(registry)
        self._seen: Tally[Counter] = Tally()

    def read(self, content: Mapping[str, Any], topic: str) -> None:
        """Read one report, parsed; `topic` is the one that is consumed."""
        brokers = [broker for broker in content["brokers"].values() if broker["nodeid"] >= 0]
        self._brokers_up.set(sum(broker["state"] == "UP" for broker in brokers))
        self._round_trip.clear()
        for broker in brokers:
            if broker["rtt"]["cnt"]:
                self._round_trip.labels(str(broker["nodeid"])).set(broker["rtt"]["p99"] / _MICROSECONDS)
        partitions = content["topics"].get(topic, {}).get("partitions", {})
        # All partitions report the length of the one queue of the consumer.
        self._prefetched.set(max((partition["fetchq_cnt"] for partition in partitions.values()), default=0))
        self._grow(self._received, content["rx_bytes"])
        self._grow(self._disconnects, sum(broker["disconnects"] for broker in brokers))
        self._grow(self._timeouts, sum(broker["req_timeouts"] for broker in brokers))
        self._grow(self._rebalances, content.get("cgrp", {}).get("rebalance_cnt", 0))

    def _grow(self, metric: Counter, total: int) -> None:
        """Follow a total that librdkafka counts from the client's start; it shrinks where a broker is forgotten."""
        metric.inc(max(0, total - self._seen[metric]))
        self._seen[metric] = max(total, self._seen[metric])


class LagMetrics(Declared):
    """The events that wait in each partition: those after the committed position, as Kafka's own tools count lag.

    The client's `consumer_lag` counts from offsets that the consumer commits, and ours are committed in transactions. Events
    that were polled and are being answered count as well: while Milvus or the coordinator is away, only these wait.

    The poll thread reports partitions and the client's statistics, the publishing thread commits.
    """

    _lag = gauge(
        "marquee_consumer_lag",
        "Events whose result is not committed yet, by partition: waiting in Kafka, or being answered.",
        partition=(),
    )

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__(registry)
        self._positions: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        self._idle: dict[int, int] = {}
        self._lock = threading.Lock()

    def assigned(self, positions: Iterable[TopicPartition]) -> None:
        """These partitions were assigned, at these positions: offsets, the beginning or the end."""
        with self._lock:
            self._positions |= {position.partition: position.offset for position in positions}

    def committed(self, positions: Iterable[TopicPartition]) -> None:
        """These positions were committed. Ignores partitions that were revoked meanwhile: another worker reports them."""
        with self._lock:
            self._positions |= {
                position.partition: position.offset
                for position in positions
                if position.partition in self._positions
            }

    def gone(self, partitions: Sequence[TopicPartition]) -> None:
        """These partitions were revoked or lost."""
        with self._lock:
            for gone in partitions:
                self._positions.pop(gone.partition, None)
        for gone in partitions:
            self._lag.remove(str(gone.partition))

    def read(self, partitions: Mapping[str, Any], *, in_hand: bool) -> None:
        """Read the client's statistics of the topic's partitions (STATISTICS.md of librdkafka).

        Args:
            in_hand: whether polled events are not committed yet, or will be polled again.
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
            if position is not None and end >= 0:  # the end is known from the first response to a fetch
                # Events behind an open transaction wait as well.
                end_of_all = max(end, report.get("hi_offset", end))
                self.waiting(number, max(0, end_of_all - _answered_up_to(position, report, in_hand)))
                if 0 <= position < end and not in_hand:
                    self._behind[number] = position
        self._idle = {n: position for n, position in self._behind.items() if before.get(n) == position}

    def positions(self) -> dict[int, int]:
        """The committed position of each partition."""
        with self._lock:
            return dict(self._positions)

    def behind(self) -> dict[int, int]:
        """Committed positions short of their partition's end in two successive reports without uncommitted events."""
        return dict(self._idle)

    def waiting(self, partition: int, events: int) -> None:
        """Set the number of events that wait in a partition."""
        self._lag.labels(str(partition)).set(events)


def _answered_up_to(position: int, report: Mapping[str, Any], in_hand: bool) -> int:
    if position == OFFSET_END:
        return int(report["ls_offset"])
    if not in_hand:
        # The client skips the markers of transactions behind the last event by itself.
        position = max(position, int(report["app_offset"]))
    return max(position, int(report["lo_offset"]), 0)


class Statistics:
    """Reads the statistics of the worker's consumer, every other second."""

    def __init__(self, topic: str, health: Health, metrics: "Metrics", in_hand: Callable[[], bool]) -> None:
        """`in_hand` returns whether polled events are not committed yet, or will be polled again."""
        self._topic = topic
        self._health = health
        self._metrics = metrics
        self._in_hand = in_hand
        self._reached_at: float | None = None
        self.coordinator_timeouts = 0  # of requests to the group's coordinator

    @property
    def reachable_seconds(self) -> float:
        """Seconds for which a broker has been reachable without a break; 0 while none is."""
        return 0.0 if self._reached_at is None else time.monotonic() - self._reached_at

    def read(self, statistics: str) -> None:
        """The callback: `statistics` is librdkafka's JSON (STATISTICS.md of librdkafka)."""
        content = orjson.loads(statistics)
        if not any(broker["state"] == "UP" for broker in content["brokers"].values()):
            # Twice in a row: connections are also closed and reopened. The client's error that all brokers are down comes
            # sooner, but not every time.
            if self._reached_at is None:
                self._health.set("kafka", "no broker can be reached")
            self._reached_at = None
        else:
            self._reached_at = self._reached_at or time.monotonic()
            self._health.set("kafka", None)
        coordinator = content["brokers"].get(_COORDINATOR, {})
        self.coordinator_timeouts = coordinator.get("req_timeouts", self.coordinator_timeouts)
        self._metrics.kafka.read(content, self._topic)
        partitions = content["topics"].get(self._topic, {}).get("partitions", {})
        self._metrics.lag.read(partitions, in_hand=self._in_hand())

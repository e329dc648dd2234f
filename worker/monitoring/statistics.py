"""librdkafka's own statistics: whether a broker can be reached, and how far behind each partition is."""

import time
from collections.abc import Callable

import orjson

from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics

# The connection that the group's requests alone go over.
_COORDINATOR = "GroupCoordinator"


class Statistics:
    """Reads the statistics of the worker's consumer, every other second."""

    def __init__(self, topic: str, health: Health, metrics: Metrics, in_hand: Callable[[], bool]) -> None:
        """`in_hand` says whether something that was polled is not committed yet, or will be polled again."""
        self._topic = topic
        self._health = health
        self._metrics = metrics
        self._in_hand = in_hand
        self._reached_at: float | None = None
        self.coordinator_timeouts = 0  # of requests to the group's coordinator

    @property
    def reachable_seconds(self) -> float:
        """How long a broker has been within reach without a break; 0 while none is."""
        return 0.0 if self._reached_at is None else time.monotonic() - self._reached_at

    def read(self, statistics: str) -> None:
        """The callback: `statistics` is librdkafka's JSON (STATISTICS.md of librdkafka)."""
        content = orjson.loads(statistics)
        if not any(broker["state"] == "UP" for broker in content["brokers"].values()):
            # Twice in a row: connections are also closed and opened anew. The client's own word, that all brokers are down,
            # comes sooner, and does not come every time.
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

"""librdkafka's own statistics: whether a broker can be reached, and how far behind each partition is."""

import time

import orjson

from worker.http import Health
from worker.metrics import Metrics


class Statistics:
    """Reads the statistics of the worker's consumer, every other second."""

    def __init__(self, topic: str, health: Health, metrics: Metrics) -> None:
        self._topic = topic
        self._health = health
        self._metrics = metrics
        self._reached_at: float | None = None

    @property
    def reachable_seconds(self) -> float:
        """How long a broker has been within reach without a break; 0 while none is."""
        return 0.0 if self._reached_at is None else time.monotonic() - self._reached_at

    def read(self, statistics: str) -> None:
        """The callback: `statistics` is librdkafka's JSON (STATISTICS.md of librdkafka)."""
        content = orjson.loads(statistics)
        if not any(broker["state"] == "UP" for broker in content["brokers"].values()):
            self._reached_at = None
        else:
            self._reached_at = self._reached_at or time.monotonic()
            self._health.set("kafka", None)
        self._metrics.kafka.read(content, self._topic)
        self._metrics.lag.read(content["topics"].get(self._topic, {}).get("partitions", {}))

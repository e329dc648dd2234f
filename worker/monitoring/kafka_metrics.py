"""What is worth having of librdkafka's own statistics, of the worker's consumer (STATISTICS.md of librdkafka)."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

_MICROSECONDS = 1e6


class KafkaMetrics:
    """The client's view of the cluster."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._brokers_up = Gauge(
            "marquee_kafka_brokers_up", "Brokers that the consumer is connected to.", registry=registry
        )
        self._round_trip = Gauge(
            "marquee_kafka_round_trip_seconds",
            "99th percentile of a broker's answers in the last seconds; a fetch may wait there for 5 ms.",
            ["broker"],
            registry=registry,
        )
        self._prefetched = Gauge(
            "marquee_kafka_prefetched_events",
            "Events fetched and not yet polled. 0 under load: Kafka is what limits.",
            registry=registry,
        )
        self._totals = {
            "received": Counter(
                "marquee_kafka_received_bytes", "Bytes received by the consumer.", registry=registry
            ),
            "disconnects": Counter(
                "marquee_kafka_disconnects", "Connections to brokers that ended.", registry=registry
            ),
            "timeouts": Counter(
                "marquee_kafka_request_timeouts",
                "Requests that no broker answered in time.",
                registry=registry,
            ),
            "rebalances": Counter(
                "marquee_kafka_rebalances", "Rebalances of the consumer's group.", registry=registry
            ),
        }
        self._seen = dict.fromkeys(self._totals, 0)

    def read(self, content: Mapping[str, Any], topic: str) -> None:
        """Take in one report, parsed; `topic` is the one that is consumed."""
        brokers = [broker for broker in content["brokers"].values() if broker["nodeid"] >= 0]
        self._brokers_up.set(sum(broker["state"] == "UP" for broker in brokers))
        self._round_trip.clear()
        for broker in brokers:
            if broker["rtt"]["cnt"]:
                self._round_trip.labels(str(broker["nodeid"])).set(broker["rtt"]["p99"] / _MICROSECONDS)
        partitions = content["topics"].get(topic, {}).get("partitions", {})
        # Each partition's queue is the consumer's one, and tells the length of that.
        self._prefetched.set(max((partition["fetchq_cnt"] for partition in partitions.values()), default=0))
        self._grow("received", content["rx_bytes"])
        self._grow("disconnects", sum(broker["disconnects"] for broker in brokers))
        self._grow("timeouts", sum(broker["req_timeouts"] for broker in brokers))
        self._grow("rebalances", content.get("cgrp", {}).get("rebalance_cnt", 0))

    def _grow(self, name: str, total: int) -> None:
        """librdkafka counts from the client's start, and so do we; a broker that it forgets takes nothing back."""
        self._totals[name].inc(max(0, total - self._seen[name]))
        self._seen[name] = max(total, self._seen[name])

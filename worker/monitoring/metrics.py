"""What the worker measures, by Prometheus' conventions; docs/metrics.md is made from it.

A label's values that are known beforehand are there from the start, at 0: Prometheus sees no increase in a counter whose
first value is its second.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, get_args

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from schemas.dead_letter import Reason
from worker.events import Answer, Trigger
from worker.monitoring.histogram import BatchHistogram
from worker.monitoring.kafka_metrics import KafkaMetrics
from worker.monitoring.lag_metrics import LagMetrics
from worker.monitoring.release_metrics import ReleaseMetrics
from worker.monitoring.search_metrics import SearchMetrics
from worker.monitoring.shadow_metrics import ShadowMetrics
from worker.monitoring.threads import ThreadMetrics

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_LATENCY = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_OUTCOMES = ("recommendation", "dead_letter")
_STAGES = ("decode", "embed", "search", "encode", "publish", "commit")
_TRANSACTION_OUTCOMES = ("committed", "undone", "refused")

_Labelled = TypeVar("_Labelled", Counter, Histogram)


class Metrics:
    """The worker's metrics; made once a process (a registry takes each name once)."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._events = Counter(
            "marquee_events", "Events committed, by what they ended in.", ["outcome"], registry=registry
        )
        self._dead_letters = Counter(
            "marquee_dead_letters", "Dead letters committed, by reason.", ["reason"], registry=registry
        )
        self._batches = Counter(
            "marquee_batches", "Batches begun, by what triggered them.", ["trigger"], registry=registry
        )
        self._batch_events = Histogram(
            "marquee_batch_events", "Events a batch.", buckets=_SIZES, registry=registry
        )
        self._stages = Histogram(
            "marquee_stage_seconds",
            "Seconds a batch spends in a stage; publish and commit are of a transaction, which may hold several.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._latency = BatchHistogram(
            "marquee_event_latency_seconds",
            "From an event's timestamp to the commit of its result.",
            buckets=_LATENCY,
            registry=registry,
        )
        self._transactions = Counter(
            "marquee_transactions",
            "Publishings: committed, undone (Kafka failed or the partitions were lost; done again), refused (for what a record is; halved).",
            ["outcome"],
            registry=registry,
        )
        self._lost_offsets = Counter(
            "marquee_lost_offsets",
            "Positions that retention had removed and a setting went past.",
            registry=registry,
        )
        self._unreadable_headers = Counter(
            "marquee_unreadable_headers",
            "Headers of events that were left out of results and dead letters, because their names are not UTF-8.",
            registry=registry,
        )
        self._read_aside = Counter(
            "marquee_batches_read_aside",
            "Batches of profiles that the Kafka client could not decode, and that another process read.",
            registry=registry,
        )
        self._rehearsals = Counter(
            "marquee_rehearsals",
            "Times that events were tried in another process first, because workers had ended at them.",
            registry=registry,
        )
        self._commit_at = Gauge(
            "marquee_last_commit_timestamp_seconds",
            "When results were last committed; 0 before the first.",
            registry=registry,
        )
        self.lag = LagMetrics(registry)
        self.search = SearchMetrics(registry)
        self.release = ReleaseMetrics(registry)
        self.shadow = ShadowMetrics(registry)
        self.kafka = KafkaMetrics(registry)
        self.threads = ThreadMetrics(registry, "http", "shadow", "statistics", "trend")
        # By value of the label; looking one up in the metric costs as much as counting.
        self._events_of = _by_value(self._events, _OUTCOMES)
        self._dead_letters_of = _by_value(self._dead_letters, [reason.value for reason in Reason])
        self._batches_of = _by_value(self._batches, get_args(Trigger))
        self._stage_of = _by_value(self._stages, _STAGES)
        self._transactions_of = _by_value(self._transactions, _TRANSACTION_OUTCOMES)

    def batch(self, trigger: Trigger, events: int) -> None:
        self._batches_of[trigger].inc()
        self._batch_events.observe(events)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of one batch."""
        started = time.perf_counter()
        yield
        self._stage_of[name].observe(time.perf_counter() - started)

    def transaction(self, outcome: str) -> None:
        self._transactions_of[outcome].inc()

    def committed(self, answers: Sequence[Answer], seconds: float, commit_seconds: float) -> None:
        """Count what a transaction made final, and how long that took; the commit's share of it apart."""
        now = time.time()
        dead = [answer.reason for answer in answers if answer.reason is not None]
        self._events_of["recommendation"].inc(len(answers) - len(dead))
        self._events_of["dead_letter"].inc(len(dead))
        for reason in dead:
            self._dead_letters_of[reason.value].inc()
        at = np.fromiter((answer.event.timestamp()[1] for answer in answers), np.float64, len(answers))
        self._latency.observe(now - at / 1_000)
        self._stage_of["publish"].observe(seconds - commit_seconds)
        self._stage_of["commit"].observe(commit_seconds)
        self._commit_at.set(now)

    def mismatch(self, results: int) -> None:
        """Count results that two releases had a part in, which must never happen."""
        self.release.mismatch(results)

    def lost_offset(self) -> None:
        self._lost_offsets.inc()

    def unreadable_headers(self, count: int) -> None:
        self._unreadable_headers.inc(count)

    def read_aside(self) -> None:
        self._read_aside.inc()

    def rehearsal(self) -> None:
        self._rehearsals.inc()


def _by_value(metric: _Labelled, values: Iterable[str]) -> dict[str, _Labelled]:
    """A metric of one label for each of its values, which are there from now on, at 0."""
    return {value: metric.labels(value) for value in values}

"""What the worker measures, by Prometheus' conventions; docs/metrics.md is made from it.

A label's values that are known beforehand are there from the start, at 0: Prometheus sees no increase in a counter whose
first value is its second.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TypeVar, get_args

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary

from schemas.dead_letter import Reason
from worker.batch import Answer, Trigger
from worker.histogram import BatchHistogram
from worker.kafka_metrics import KafkaMetrics

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_LATENCY = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_OUTCOMES = ("recommendation", "dead_letter")
_STAGES = ("decode", "embed", "search", "encode", "publish", "commit")
_TRANSACTION_OUTCOMES = ("committed", "undone", "refused")
_UNKNOWN = ("user", "movie")
_CACHE = ("hit", "repeat", "miss")
_LOADED = ("active", "trial")

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
        self._retries = Counter(
            "marquee_search_retries", "Searches tried again after Milvus failed.", registry=registry
        )
        self._exact = Counter(
            "marquee_exact_fallbacks", "Batches searched exactly while Milvus was away.", registry=registry
        )
        self._exact_in_use = Gauge(
            "marquee_exact_fallback_in_use",
            "1 while batches are searched exactly because Milvus is away, else 0.",
            registry=registry,
        )
        self._short = Counter(
            "marquee_short_lists",
            "Events searched for again, because most of what Milvus was asked for must not be recommended to them.",
            registry=registry,
        )
        self._cache = Counter(
            "marquee_cached_lists",
            "Events by what the cache of lists had for them: hit, repeat (of another event in the batch), miss.",
            ["found"],
            registry=registry,
        )
        self._unknown = Counter(
            "marquee_unknown",
            "Users and movies of events that the release does not know.",
            ["what"],
            registry=registry,
        )
        self._lag = Gauge(
            "marquee_consumer_lag", "Events not yet consumed, by partition.", ["partition"], registry=registry
        )
        self._release = Gauge(
            "marquee_active_release_timestamp_seconds",
            "When the release began to serve here; the labels say which.",
            ["release", "collection"],
            registry=registry,
        )
        self._epoch = Gauge("marquee_active_epoch", "Epoch of the release served here.", registry=registry)
        self._swaps = Counter("marquee_release_swaps", "Releases taken over.", registry=registry)
        self._load_failures = Counter(
            "marquee_release_load_failures",
            "Attempts at loading a release that failed, by what it is to be: active (what served before goes on), trial.",
            ["what"],
            registry=registry,
        )
        self._mismatches = Counter(
            "marquee_release_mismatches",
            "Results whose towers, collection and names are not one release's; each is kept from being published.",
            registry=registry,
        )
        self._shadowed = Counter(
            "marquee_shadow_events",
            "Events that a shadow answered too, by what came of it: compared, failed, skipped (it was too slow).",
            ["outcome"],
            registry=registry,
        )
        self._overlap = Histogram(
            "marquee_shadow_overlap",
            "Share of the active release's top 5 that the shadow's top 5 has too.",
            buckets=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
            registry=registry,
        )
        # No histogram: one with buckets below zero has no sum, and so no mean.
        self._score_shift = Summary(
            "marquee_shadow_score_shift",
            "The shadow's mean score of its top 5, less the active release's.",
            registry=registry,
        )
        self._shadow_seconds = Histogram(
            "marquee_shadow_batch_seconds",
            "Seconds from profiles to results of the batches that a shadow answered too, by who answered: active, candidate.",
            ["by"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._withdrawn = Gauge(
            "marquee_withdrawn_movies", "Movies that are withdrawn, as this worker knows.", registry=registry
        )
        self._lost_offsets = Counter(
            "marquee_lost_offsets",
            "Positions that retention had removed and a setting went past.",
            registry=registry,
        )
        self._commit_at = Gauge(
            "marquee_last_commit_timestamp_seconds",
            "When results were last committed; 0 before the first.",
            registry=registry,
        )
        self._info = Gauge(
            "marquee_worker_info",
            "1; the labels say which version runs, and where the user tower does: cpu or gpu.",
            ["version", "device"],
            registry=registry,
        )
        self.kafka = KafkaMetrics(registry)
        # By value of the label; looking one up in the metric costs as much as counting.
        self._events_of = _by_value(self._events, _OUTCOMES)
        self._dead_letters_of = _by_value(self._dead_letters, [reason.value for reason in Reason])
        self._batches_of = _by_value(self._batches, get_args(Trigger))
        self._stage_of = _by_value(self._stages, _STAGES)
        self._transactions_of = _by_value(self._transactions, _TRANSACTION_OUTCOMES)
        self._unknown_of = _by_value(self._unknown, _UNKNOWN)
        self._cache_of = _by_value(self._cache, _CACHE)
        self._load_failures_of = _by_value(self._load_failures, _LOADED)

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

    def search_retried(self) -> None:
        self._retries.inc()

    def searched_exactly(self) -> None:
        """A batch went the exact way because Milvus is away."""
        self._exact.inc()
        self._exact_in_use.set(1)

    def milvus_answers(self) -> None:
        """Milvus has searched."""
        self._exact_in_use.set(0)

    def short(self, events: int) -> None:
        """Events whose list had to be searched for again."""
        self._short.inc(events)

    def cache(self, hits: int, repeats: int, misses: int) -> None:
        """What the cache of lists had for the events of a batch."""
        self._cache_of["hit"].inc(hits)
        self._cache_of["repeat"].inc(repeats)
        self._cache_of["miss"].inc(misses)

    def unknown(self, users: int, movies: int) -> None:
        self._unknown_of["user"].inc(users)
        self._unknown_of["movie"].inc(movies)

    def lag(self, partition: int, events: int) -> None:
        self._lag.labels(str(partition)).set(events)

    def forget_lag(self) -> None:
        """Partitions may have gone to another worker."""
        self._lag.clear()

    def serving(self, release: str, collection: str, epoch: int) -> None:
        """A release took over."""
        self._release.clear()
        self._release.labels(release, collection).set_to_current_time()
        self._epoch.set(epoch)
        self._swaps.inc()

    def load_failed(self, what: str) -> None:
        """A release could not be loaded: the active one, or the one on trial."""
        self._load_failures_of[what].inc()

    def device(self, device: str) -> None:
        """Where the user tower of the release that serves runs."""
        self._info.clear()
        self._info.labels(version("marquee"), device).set(1)

    def mismatch(self, results: int) -> None:
        """Count results that two releases had a part in: must never happen."""
        self._mismatches.inc(results)

    def shadowed(self, overlap: float, score_shift: float) -> None:
        """A shadow's answer was compared with the active release's."""
        self._shadowed.labels("compared").inc()
        self._overlap.observe(overlap)
        self._score_shift.observe(score_shift)

    def shadow_failed(self, events: int) -> None:
        self._shadowed.labels("failed").inc(events)

    def shadow_skipped(self, events: int) -> None:
        self._shadowed.labels("skipped").inc(events)

    def shadow_batch(self, active_s: float, candidate_s: float) -> None:
        """One batch, answered by both."""
        self._shadow_seconds.labels("active").observe(active_s)
        self._shadow_seconds.labels("candidate").observe(candidate_s)

    def withdrawn(self, movies: int) -> None:
        self._withdrawn.set(movies)

    def lost_offset(self) -> None:
        self._lost_offsets.inc()


def _by_value(metric: _Labelled, values: Iterable[str]) -> dict[str, _Labelled]:
    """A metric of one label for each of its values, which are there from now on, at 0."""
    return {value: metric.labels(value) for value in values}

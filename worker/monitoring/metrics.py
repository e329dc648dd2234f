"""The worker's metrics, by Prometheus' conventions."""

import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import get_args

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry

from schemas.dead_letter import Reason
from worker.events import Answer, Trigger
from worker.monitoring.declarations import (
    Declared,
    batch_histogram,
    counter,
    gauge,
    histogram,
    summary,
    thread_restarts,
)
from worker.monitoring.statistics import KafkaMetrics, LagMetrics

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_LATENCY = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_STAGES = ("decode", "embed", "search", "encode", "publish", "commit")


class Metrics(Declared):
    """The worker's metrics."""

    # Batches and transactions
    events = counter(
        "marquee_events",
        "Events committed, by the kind of record that they ended in.",
        outcome=("recommendation", "dead_letter"),
    )
    dead_letters = counter("marquee_dead_letters", "Dead letters committed, by reason.", reason=[*Reason])
    batches = counter("marquee_batches", "Batches begun, by their trigger.", trigger=get_args(Trigger))
    batch_events = histogram("marquee_batch_events", "Events in a batch.", _SIZES)
    stages = histogram(
        "marquee_stage_seconds",
        "Seconds that a batch spends in a stage; publish and commit are of a transaction, which may hold several batches.",
        _SECONDS,
        stage=_STAGES,
    )
    latency = batch_histogram(
        "marquee_event_latency_seconds",
        "From an event's timestamp to the commit of its result.",
        _LATENCY,
    )
    transactions = counter(
        "marquee_transactions",
        "Transactions: committed, undone (aborted because Kafka failed or partitions were lost, and retried), refused "
        "(for the content of a record; the batch is halved).",
        outcome=("committed", "undone", "refused"),
    )
    last_commit = gauge(
        "marquee_last_commit_timestamp_seconds", "Time of the last commit of results; 0 before the first."
    )
    lost_offsets = counter(
        "marquee_lost_offsets", "Positions that retention had removed and that a setting skipped."
    )
    unreadable_headers = counter(
        "marquee_unreadable_headers",
        "Headers of events that results and dead letters lack, because their names are not UTF-8.",
    )
    read_aside = counter(
        "marquee_batches_read_aside",
        "Batches of profiles that the Kafka client could not decode, and that a child process read.",
    )
    rehearsals = counter(
        "marquee_rehearsals",
        "Times that events were tried in a child process first, because workers had ended at them.",
    )
    # Search
    search_retries = counter("marquee_search_retries", "Searches retried after Milvus failed.")
    exact_fallbacks = counter("marquee_exact_fallbacks", "Batches searched exactly while Milvus was away.")
    exact_in_use = gauge(
        "marquee_exact_fallback_in_use",
        "1 while batches are searched exactly because Milvus is away, else 0.",
    )
    short_lists = counter(
        "marquee_short_lists",
        "Events searched for again, because most movies that Milvus returned must not be recommended to them.",
    )
    cached_lists = counter(
        "marquee_cached_lists",
        "Events by the state of the cache of lists: hit, repeat (of another event in the batch), miss.",
        found=("hit", "repeat", "miss"),
    )
    unknown = counter(
        "marquee_unknown",
        "Users and movies of events that the release does not know.",
        what=("user", "movie"),
    )
    # Release
    _release = gauge(
        "marquee_active_release_timestamp_seconds",
        "Time at which the release in the labels became active here.",
        release=(),
        collection=(),
    )
    _epoch = gauge("marquee_active_epoch", "Epoch of the release that is active here.")
    _swaps = counter("marquee_release_swaps", "Swaps to another active release.")
    load_failures = counter(
        "marquee_release_load_failures",
        "Failed attempts to load a release, by its role: active (the last one goes on serving), trial.",
        what=("active", "trial"),
    )
    mismatches = counter(
        "marquee_release_mismatches",
        "Results whose model, collection and names are not of one release, or whose vectors are of another batch; none is "
        "published.",
    )
    withdrawn = gauge("marquee_withdrawn_movies", "Movies on this worker's blocklist.")
    _info = gauge(
        "marquee_worker_info",
        "1, with the version and the device of the user tower (cpu or gpu) in the labels.",
        version=(),
        device=(),
    )
    # Shadow
    shadow_events = counter(
        "marquee_shadow_events",
        "Events offered to a shadow: compared, failed, skipped (the shadow was too slow).",
        outcome=(),
    )
    shadow_overlap = histogram(
        "marquee_shadow_overlap",
        "Share of the active release's top 5 that is also in the shadow's top 5.",
        _SHARES,
    )
    # Not a histogram: with buckets below zero it has no sum, and so no mean.
    shadow_shift = summary(
        "marquee_shadow_score_shift",
        "Mean score of the shadow's top 5, less that of the active release's.",
    )
    shadow_seconds = histogram(
        "marquee_shadow_batch_seconds",
        "Seconds from profiles to results of batches that a shadow also answered, by release: active, candidate.",
        _SECONDS,
        by=(),
    )
    restarts = thread_restarts("http", "shadow", "statistics", "trend")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__(registry)
        self.lag = LagMetrics(registry)
        self.kafka = KafkaMetrics(registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of one batch."""
        started = time.perf_counter()
        yield
        self.stages.labels(name).observe(time.perf_counter() - started)

    def mismatch(self, results: int) -> None:
        """Count results that two releases had a part in, which must never happen."""
        self.mismatches.inc(results)

    def fell_back(self) -> None:
        """A batch was searched exactly because Milvus is away."""
        self.exact_fallbacks.inc()
        self.exact_in_use.set(1)

    def serving(self, release: str, collection: str, epoch: int, device: str) -> None:
        """A release became active, with its user tower on this device."""
        for named in (self._release, self._info):
            named.clear()
        self._release.labels(release, collection).set_to_current_time()
        self._info.labels(version("marquee"), device).set(1)
        self._epoch.set(epoch)
        self._swaps.inc()

    def committed(self, answers: Sequence[Answer], seconds: float, commit_seconds: float) -> None:
        """Count the records of a transaction that took `seconds`, `commit_seconds` of them for the commit."""
        now = time.time()
        dead = Tally(answer.reason for answer in answers if answer.reason is not None)
        self.events.labels("recommendation").inc(len(answers) - dead.total())
        self.events.labels("dead_letter").inc(dead.total())
        for reason, count in dead.items():
            self.dead_letters.labels(reason).inc(count)
        at = np.fromiter((answer.event.timestamp()[1] for answer in answers), np.float64, len(answers))
        self.latency.observe(now - at / 1_000)
        self.stages.labels("publish").observe(seconds - commit_seconds)
        self.stages.labels("commit").observe(commit_seconds)
        self.last_commit.set(now)

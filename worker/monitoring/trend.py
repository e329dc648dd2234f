"""Half an hour of the metrics, for the page: the differences between two samplings.

A sampling takes about a millisecond of CPU, so there is one every ten seconds, and every two while the page is open.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, TypedDict

from prometheus_client import CollectorRegistry

from worker.monitoring.threads import start_side

LOOK_SECONDS = 2.0
UNWATCHED_SECONDS = 10.0
KEPT_SECONDS = 1_800.0
# An open page asks every other second.
_WATCHED_SECONDS = 15.0


class Point(TypedDict):
    """The metrics since the point before; latencies in seconds, null where no event was committed."""

    at: float
    recommendations: float  # a second
    dead_letters: float  # a second
    p50: float | None
    p99: float | None
    batch: float | None  # events a batch
    lag: dict[str, float]  # by partition
    stages: dict[str, float]  # seconds spent, by stage
    release: str | None
    epoch: int


@dataclass
class _Look:
    """Counters and gauges at a moment."""

    at: float
    totals: dict[tuple[str, str], float] = field(default_factory=dict)  # by sample and the value of its label
    latency: dict[float, float] = field(default_factory=dict)  # events up to a bound
    release: str | None = None

    def since(self, before: "_Look", sample: str, label: str = "") -> float:
        return self.totals.get((sample, label), 0.0) - before.totals.get((sample, label), 0.0)

    def labels(self, sample: str) -> list[str]:
        return [label for name, label in self.totals if name == sample]


# The label of each sample that is read; all but one of them have at most one.
_LABELS = {
    "marquee_events_total": "outcome",
    "marquee_batch_events_sum": "",
    "marquee_batch_events_count": "",
    "marquee_stage_seconds_sum": "stage",
    "marquee_consumer_lag": "partition",
    "marquee_active_epoch": "",
}


class Trend:
    """Samples a registry in a thread of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._points: deque[Point] = deque(maxlen=int(KEPT_SECONDS / LOOK_SECONDS))
        self._before: _Look | None = None
        self._watched_at = float("-inf")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.look(time.time())  # counts before the first sampling are in no point
        self._thread = start_side("trend", self._run, self._stopping)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def after(self, at: float) -> list[Point]:
        """The points of the last half an hour after a time, oldest first. Calls count as an open page."""
        self._watched_at = time.monotonic()
        points = list(self._points)
        oldest = points[-1]["at"] - KEPT_SECONDS if points else 0.0
        return [point for point in points if point["at"] > max(at, oldest)]

    def look(self, at: float) -> None:
        """Sample now; from the second time on, this adds a point."""
        look = self._look(at)
        if self._before is not None:
            self._points.append(_point(self._before, look))
        self._before = look

    def _run(self) -> None:
        looked_at = float("-inf")
        while not self._stopping.wait(LOOK_SECONDS):
            now = time.monotonic()
            if now - self._watched_at < _WATCHED_SECONDS or now - looked_at >= UNWATCHED_SECONDS:
                looked_at = now
                self.look(time.time())

    def _look(self, at: float) -> _Look:
        look = _Look(at)
        for metric in self._registry.collect():
            if not metric.name.startswith("marquee_"):
                continue
            for sample in metric.samples:
                label = _LABELS.get(sample.name)
                if label is not None:
                    look.totals[sample.name, sample.labels.get(label, "")] = sample.value
                elif sample.name == "marquee_event_latency_seconds_bucket":
                    look.latency[float(sample.labels["le"])] = sample.value
                elif sample.name == "marquee_active_release_timestamp_seconds":
                    look.release = sample.labels["release"]
        return look


def _point(before: _Look, now: _Look) -> Point:
    seconds = max(now.at - before.at, 1e-3)
    batches = now.since(before, "marquee_batch_events_count")
    bounds = sorted(now.latency)
    counts = [now.latency[bound] - before.latency.get(bound, 0.0) for bound in bounds]
    lag = "marquee_consumer_lag"
    stage = "marquee_stage_seconds_sum"
    return Point(
        at=now.at,
        recommendations=now.since(before, "marquee_events_total", "recommendation") / seconds,
        dead_letters=now.since(before, "marquee_events_total", "dead_letter") / seconds,
        p50=quantile(0.5, bounds, counts),
        p99=quantile(0.99, bounds, counts),
        batch=now.since(before, "marquee_batch_events_sum") / batches if batches else None,
        lag={partition: now.totals[lag, partition] for partition in now.labels(lag)},
        stages={name: now.since(before, stage, name) for name in now.labels(stage)},
        release=now.release,
        epoch=int(now.totals.get(("marquee_active_epoch", ""), 0)),
    )


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """As Prometheus' `histogram_quantile`: linear within a bucket. `counts` are cumulative, by bound."""
    total = counts[-1] if counts else 0.0
    if total <= 0:
        return None
    wanted, lower, below = share * total, 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= wanted and count > below:
            return (
                lower
                if bound == float("inf")
                else lower + (bound - lower) * (wanted - below) / (count - below)
            )
        lower, below = bound, count
    return lower

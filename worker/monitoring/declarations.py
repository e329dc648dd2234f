"""Declarations of metrics: one call for each, with its name, help and labels. docs/metrics.md is made from them."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.monitoring.threads import count_restarts_in


class Declared:
    """The metrics of a process, declared as class attributes and made in its registry, which takes each name once.

    A label is declared with its known values, or with none. Known values are exported from the start, at 0: Prometheus sees
    no increase in a counter whose first value is its second.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        for name in dir(type(self)):
            declaration = getattr(type(self), name)
            if isinstance(declaration, _Declaration):
                setattr(self, name, declaration.make(registry))


@dataclass(frozen=True)
class _Declaration:
    kind: Callable[..., Any]
    name: str
    text: str
    labels: Mapping[str, Iterable[str]] = field(default_factory=dict)
    buckets: Sequence[float] | None = None

    def make(self, registry: CollectorRegistry) -> Any:
        options = {} if self.buckets is None else {"buckets": self.buckets}
        metric = self.kind(self.name, self.text, tuple(self.labels), registry=registry, **options)
        for values in product(*self.labels.values()) if self.labels else ():
            metric.labels(*values)
        return metric


def counter(name: str, text: str, **labels: Iterable[str]) -> Counter:
    return cast(Counter, _Declaration(Counter, name, text, labels))


def gauge(name: str, text: str, **labels: Iterable[str]) -> Gauge:
    return cast(Gauge, _Declaration(Gauge, name, text, labels))


def histogram(name: str, text: str, buckets: Sequence[float], **labels: Iterable[str]) -> Histogram:
    return cast(Histogram, _Declaration(Histogram, name, text, labels, buckets))


def batch_histogram(name: str, text: str, buckets: Sequence[float]) -> "BatchHistogram":
    return cast(BatchHistogram, _Declaration(BatchHistogram, name, text, buckets=buckets))


def summary(name: str, text: str) -> Summary:
    return cast(Summary, _Declaration(Summary, name, text))


def thread_restarts(*threads: str) -> Counter:
    """The counter of restarts, with the names of the side threads of this process."""
    text = "Side threads and callbacks that failed and were restarted, by name; a failure of any other thread ends the process."
    return cast(
        Counter, _Declaration(_counter_of_restarts, "marquee_thread_restarts", text, {"thread": threads})
    )


def _counter_of_restarts(*arguments: Any, **options: Any) -> Counter:
    made = Counter(*arguments, **options)
    count_restarts_in(made)
    return made


class BatchHistogram(Collector):
    """A histogram that takes a batch of values at once; `prometheus_client.Histogram` takes a microsecond for each value."""

    def __init__(
        self,
        name: str,
        documentation: str,
        _labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        """`buckets` are the ascending upper bounds, without infinity."""
        self._name = name
        self._documentation = documentation
        self._bounds = np.asarray(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Take n values, shape [n]."""
        places = np.searchsorted(self._bounds, values, side="left")  # a bucket includes its upper bound
        counts = np.bincount(places, minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(values.sum())

    def describe(self) -> Iterable[Metric]:
        """The metric without samples."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[Metric]:
        """The metric with its samples: each bucket counts the values up to its bound."""
        with self._lock:
            up_to, total = np.cumsum(self._counts).tolist(), self._sum
        names = [str(bound) for bound in self._bounds.tolist()] + ["+Inf"]
        buckets = list(zip(names, up_to, strict=True))
        return [HistogramMetricFamily(self._name, self._documentation, buckets, total)]

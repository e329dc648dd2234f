"""Declarations of metrics: one call for each, with its name, help and labels. docs/metrics.md is made from them."""

import threading
from collections.abc import Iterable, Sequence
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.monitoring.threads import count_restarts_in

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


class Declarations:
    """Declares the metrics of one process in its registry, which takes each name once.

    A label is given with its known values, or with none. Known values are exported from the start, at 0: Prometheus sees no
    increase in a counter whose first value is its second.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        return _with_values(Counter(name, text, labels, registry=self._registry), labels)

    def gauge(self, name: str, text: str, **labels: Iterable[str]) -> Gauge:
        return _with_values(Gauge(name, text, labels, registry=self._registry), labels)

    def histogram(self, name: str, text: str, buckets: Sequence[float], **labels: Iterable[str]) -> Histogram:
        metric = Histogram(name, text, labels, buckets=buckets, registry=self._registry)
        return _with_values(metric, labels)

    def batch_histogram(self, name: str, text: str, buckets: Sequence[float]) -> "BatchHistogram":
        return BatchHistogram(name, text, buckets=buckets, registry=self._registry)

    def summary(self, name: str, text: str) -> Summary:
        return Summary(name, text, registry=self._registry)

    def restarts(self, *threads: str) -> None:
        """Declare the counter of the restarts of this process, with the names of its side threads."""
        count_restarts_in(
            self.counter(
                "marquee_thread_restarts",
                "Side threads and callbacks that failed and were restarted, by name; a failure of any other thread ends the "
                "process.",
                thread=threads,
            )
        )


def _with_values(metric: _Metric, labels: dict[str, Iterable[str]]) -> _Metric:
    for values in product(*labels.values()) if labels else ():
        metric.labels(*values)
    return metric


class BatchHistogram(Collector):
    """A histogram that takes a batch of values at once; `prometheus_client.Histogram` takes a microsecond for each value."""

    def __init__(
        self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry
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

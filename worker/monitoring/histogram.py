"""A histogram that takes a batch of values at once."""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class BatchHistogram(Collector):
    """As `prometheus_client.Histogram`, which takes one value at a time and more than a microsecond for it."""

    def __init__(
        self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        """`buckets` are the upper bounds, growing, without infinity."""
        self._name = name
        self._documentation = documentation
        self._bounds = np.asarray(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Take n values, shape [n]."""
        places = np.searchsorted(self._bounds, values, side="left")  # a bucket holds its upper bound
        counts = np.bincount(places, minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(values.sum())

    def describe(self) -> Iterable[Metric]:
        """What `collect` will give, without its samples."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterable[Metric]:
        """The samples: each bucket counts what is up to its bound."""
        with self._lock:
            up_to, total = np.cumsum(self._counts).tolist(), self._sum
        names = [str(bound) for bound in self._bounds.tolist()] + ["+Inf"]
        buckets = list(zip(names, up_to, strict=True))
        return [HistogramMetricFamily(self._name, self._documentation, buckets, total)]

"""Whether an index answers: a way to each, closed by the first search that fails and opened by a probe."""

import logging
import random
import threading
import time
import weakref

import numpy as np

from worker.errors import MilvusError, MixedReleasesError
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Failure, start_vital
from worker.monitoring.waiting import back_off
from worker.retrieval.index import IndexStore, SearchTarget, VectorIndex
from worker.retrieval.ranking import LIMITS

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 2.0
# Milvus keeps working on a call that was given up, so the size of calls is not tried out from above.
_FIRST_VECTORS = 64
# A call that took less than this share of its time may be doubled: at once, until one took too long, and then only after
# so many in a row, because the next that takes too long costs its batch all of that time.
_QUICK = 0.25
_QUICK_CALLS = 16


class CallSize:
    """The most vectors that one search holds: doubled by full calls that were quick, halved by one that took too long.

    A large catalogue in a busy Milvus can need more time for a whole batch than one call may take. Repeated unchanged, such
    a batch would never succeed, and block its partitions.
    """

    def __init__(self, timeout_s: float) -> None:
        self.most = _FIRST_VECTORS
        self._timeout_s = timeout_s
        self._quick_calls = 0
        self._until_larger = 1
        self._lock = threading.Lock()

    def took(self, count: int, seconds: float) -> None:
        """Take note of a call of so many vectors that was answered."""
        with self._lock:
            if count < self.most:
                return
            self._quick_calls = self._quick_calls + 1 if seconds < _QUICK * self._timeout_s else 0
            if self._quick_calls == self._until_larger:
                self.most, self._quick_calls = 2 * self.most, 0

    def too_long(self, count: int) -> None:
        """Take note of a call of so many vectors that was given up. Other batches may have met the same."""
        with self._lock:
            half = max(1, count // 2)
            self._until_larger = _QUICK_CALLS
            if half < self.most:
                self.most, self._quick_calls = half, 0
                log.warning(
                    "Milvus took more than %g s for %d vectors; searching %d at a time",
                    self._timeout_s,
                    count,
                    half,
                )


class Way:
    """To the index of one release: open, or closed since a moment."""

    def __init__(self, index: VectorIndex, timeout_s: float) -> None:
        self.index = index
        self.call_size = CallSize(timeout_s)
        self.open = threading.Event()
        self.open.set()
        self.closed_at = 0.0
        self.probe_vectors = 1
        self.slow_batches: set[int] = set()  # ids of the batches that it keeps waiting

    @property
    def away(self) -> float:
        """Seconds since it was closed."""
        return time.monotonic() - self.closed_at


class Ways:
    """The ways to the indexes of releases, each probed in a thread of its own while it is closed."""

    def __init__(self, store: IndexStore, timeout_s: float, health: Health, metrics: Metrics) -> None:
        self._store = store
        self._timeout = timeout_s
        self._health = health
        self._metrics = metrics
        self._failure = Failure()  # of a probe
        self._lock = threading.Lock()
        self._ways: weakref.WeakKeyDictionary[SearchTarget, Way] = weakref.WeakKeyDictionary()

    def raise_failure(self) -> None:
        """Raise in this thread what ended a probe."""
        self._failure.raise_noted()

    def to(self, target: SearchTarget) -> Way:
        """The way to the index of a release, open at first."""
        with self._lock:
            way = self._ways.get(target)
            if way is None:
                index = self._store.index(target.collection, target.items, target.ef)
                way = self._ways[target] = Way(index, self._timeout)
            return way

    def close(self, way: Way, target: SearchTarget, problem: str, probe_vectors: int = 1) -> None:
        self._metrics.search_retries.inc()
        self._health.set("milvus", problem)
        with self._lock:
            if not way.open.is_set():
                return  # another batch has noticed as well
            way.open.clear()
            way.closed_at, way.probe_vectors = time.monotonic(), probe_vectors
        log.warning("waiting for Milvus: %s", problem)
        # The probe must not keep a release in memory that nothing else uses.
        probed = weakref.ref(target)
        start_vital("milvus-probe", lambda: self._probe(probed, way), lambda error: self._ended(way, error))

    def _ended(self, way: Way, error: BaseException) -> None:
        """Have the main loop raise what ended a probe, and let the batches that wait go on until then."""
        self._failure.note(error)
        way.open.set()

    def _probe(self, probed: "weakref.ref[SearchTarget]", way: Way) -> None:
        """Search until Milvus answers in time or the release is gone, then open the way again."""
        pauses = back_off(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS)
        while True:
            time.sleep(next(pauses) * random.uniform(0.5, 1.0))
            target = probed()
            if target is None or self.answers(way, target.dimension, way.probe_vectors):
                break
            del target
        log.info(
            "Milvus %s, after %.1f s", "answers again" if target else "need not answer any more", way.away
        )
        way.open.set()
        self.say_if_well()

    def say_if_well(self) -> None:
        with self._lock:
            if all(way.open.is_set() and not way.slow_batches for way in self._ways.values()):
                self._health.set("milvus", None)
                self._metrics.exact_in_use.set(0)

    def answers(self, way: Way, dimension: int, count: int = 1) -> bool:
        """Whether Milvus searches so many vectors in the time of one call."""
        vectors = np.zeros((count, dimension), np.float32)
        vectors[:, 0] = 1.0
        began, at_a_time = time.monotonic(), way.call_size.most
        try:
            for start in range(0, count, at_a_time):
                way.index.search(vectors[start : start + at_a_time], LIMITS[0])
                if (seconds := time.monotonic() - began) > self._timeout:
                    self._health.set("milvus", f"Milvus is slow: a probe took {seconds:.1f} s")
                    return False
        except MilvusError as error:
            self._health.set("milvus", str(error))
            return False
        except MixedReleasesError:
            return True  # the batch meets it as well
        return True

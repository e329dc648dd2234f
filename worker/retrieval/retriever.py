"""Where lists come from: Milvus, or the worker's own copy of the vectors, by setting or while Milvus is away."""

import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from schemas.profile import Filter
from schemas.recommendation import Retrieval
from schemas.settings import Settings
from worker.errors import (
    MilvusError,
    RefusedCallError,
    RefusedQueriesError,
    SlowMilvusError,
)
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation, Failure, start_vital
from worker.release.catalogue import Catalogue
from worker.retrieval.call_size import CallSize
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters, expression
from worker.retrieval.lists import NOTHING, Lists, Vectors, Wish
from worker.retrieval.milvus import EF_MIN, Ids, Milvus, Scores, stacked
from worker.retrieval.ranking import SearchExactly, best_lists

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 2.0
# How often a batch that waits for Milvus looks whether it is still wanted.
_LOOK_SECONDS = 0.1
# After so many refusals of an event alone, while Milvus answers the probe, the event is at fault.
_REFUSALS = 3
_REFUSED_BACKOFF_SECONDS = 0.1


@dataclass(frozen=True, eq=False)  # two loads of one release are not equal
class SearchTarget:
    """The searchable part of a release: its collection, and the worker's own copy of the vectors."""

    collection: str
    movies: int
    dimension: int
    scale: float
    exact: ExactIndex | None  # None where the settings have no room for the copy
    catalogue: Catalogue
    ef: int = EF_MIN  # candidates that a search of an HNSW index keeps

    @cached_property
    def filters(self) -> Filters:
        """The masks of the filters of events, over the catalogue."""
        return Filters(self.catalogue)


@dataclass(frozen=True, slots=True)
class FoundLists:
    """The lists of a batch, where each comes from, and whether that is only so because Milvus is away."""

    lists: Lists
    retrievals: list[Retrieval]
    milvus_away: bool


class _Way:
    """To the collection of one release: open, or closed since when; and how much it takes at once."""

    def __init__(self, timeout_s: float) -> None:
        self.call_size = CallSize(timeout_s)
        self.answers = threading.Event()
        self.answers.set()
        self.away_since = 0.0

    @property
    def away(self) -> float:
        """Seconds."""
        return time.monotonic() - self.away_since


class Retriever:
    """Finds the lists of a batch; several threads may use one.

    The first search that fails closes the way to its collection for all batches. A probe of its own tries until that
    answers, so that no batch pays for finding out; meanwhile batches wait, and after `milvus.exact_after_s` go the exact
    way. Each release has a way of its own: what Milvus has lost of one must not keep others from it.
    """

    def __init__(self, settings: Settings, milvus: Milvus, health: Health, metrics: Metrics) -> None:
        self._exact_only = settings.worker.retrieval == "exact"
        after = settings.milvus.exact_after_s
        self._exact_after = math.inf if after == "never" else after
        self._timeout = settings.milvus.timeout_s
        self._milvus = milvus
        self._health = health
        self._metrics = metrics
        self._failure = Failure()  # of a probe
        self._lock = threading.Lock()
        self._ways: weakref.WeakKeyDictionary[SearchTarget, _Way] = weakref.WeakKeyDictionary()

    def lists(
        self,
        target: SearchTarget,
        vectors: Vectors,
        wishes: Sequence[Wish],
        cancellation: Cancellation,
        blocklist: frozenset[int] = NOTHING,
    ) -> FoundLists:
        """The best lists for vectors [n, dimension], without the movies of the blocklist.

        Raises:
            AbandonedError: the batch was cancelled, and Milvus is still away.
            RefusedQueriesError: Milvus answers others and refuses this batch, of which there is no copy to search.
            SettingsError: Milvus refused who we are.
        """
        if self._exact_only:
            return search_exactly(target, vectors, wishes, None, blocklist)
        way, refusals = self._way(target), 0
        has_copy = target.exact is not None and self._exact_after < math.inf
        while True:
            exactly = False
            if way.answers.is_set():
                try:
                    found = self._searched(target, way.call_size, vectors, wishes, blocklist)
                    self._metrics.exact_in_use.set(0)
                    return found
                except RefusedCallError as error:
                    if self._answers(target):
                        refusals += 1
                        exactly = self._is_to_blame(error, refusals, len(wishes), has_copy)
                    else:
                        self._close(target, way, str(error))
                except MilvusError as error:
                    self._close(target, way, str(error))
            cancellation.check()
            if exactly or (has_copy and not way.answers.is_set() and way.away >= self._exact_after):
                self._metrics.fell_back()
                return search_exactly(target, vectors, wishes, None, blocklist, milvus_away=True)
            way.answers.wait(_LOOK_SECONDS)

    def _is_to_blame(self, error: RefusedCallError, refusals: int, count: int, has_copy: bool) -> bool:
        """Whether a batch is to be searched exactly, because Milvus answers others and refuses it again and again.

        Raises:
            RefusedQueriesError: so it is, and there is no copy. Larger batches are halved at once, an event is tried again.
        """
        self._metrics.search_retries.inc()
        if not has_copy and (count > 1 or refusals >= _REFUSALS):
            raise RefusedQueriesError(str(error)) from error
        time.sleep(_REFUSED_BACKOFF_SECONDS * refusals)
        return refusals >= _REFUSALS

    def _searched(
        self,
        target: SearchTarget,
        size: CallSize,
        vectors: Vectors,
        wishes: Sequence[Wish],
        blocklist: frozenset[int],
    ) -> FoundLists:
        ranked = best_lists(
            partial(self._search, target, size),
            vectors,
            wishes,
            movies=target.movies,
            scale=target.scale,
            withheld=blocklist,
            exactly=_exactly(target, blocklist) if target.exact else None,
        )
        self._metrics.short_lists.inc(len(ranked.short))
        retrievals: list[Retrieval] = ["milvus"] * len(wishes)
        for place in ranked.exact:
            retrievals[place] = "exact"
        return FoundLists(ranked.lists, retrievals, milvus_away=False)

    def _search(
        self, target: SearchTarget, size: CallSize, queries: Vectors, limit: int, filter_: Filter | None
    ) -> tuple[Ids, Scores]:
        """As `Milvus.search`, in as many calls as it takes for none to take too long."""
        expr = expression(filter_) if filter_ else ""
        parts = []
        for part in size.parts(len(queries)):
            began, count = time.monotonic(), part.stop - part.start
            try:
                parts.append(self._milvus.search(target.collection, queries[part], limit, expr, ef=target.ef))
            except SlowMilvusError:
                size.too_long(count)
                raise
            size.took(count, time.monotonic() - began)
        return parts[0] if len(parts) == 1 else stacked(parts)

    def raise_failure(self) -> None:
        """Raise in this thread what ended a probe."""
        self._failure.raise_noted()

    def _way(self, target: SearchTarget) -> _Way:
        with self._lock:
            return self._ways.setdefault(target, _Way(self._timeout))

    def _close(self, target: SearchTarget, way: _Way, problem: str) -> None:
        self._metrics.search_retries.inc()
        self._health.set("milvus", problem)
        with self._lock:
            if not way.answers.is_set():
                return  # another batch has noticed as well
            way.answers.clear()
            way.away_since = time.monotonic()
        log.warning("waiting for Milvus: %s", problem)
        # It must not keep a release that nothing else holds any more.
        probed = weakref.ref(target)
        start_vital("milvus-probe", lambda: self._probe(probed, way), lambda error: self._ended(way, error))

    def _ended(self, way: _Way, error: BaseException) -> None:
        """Have the main loop raise what ended a probe, and let those that wait for it go on until then."""
        self._failure.note(error)
        way.answers.set()

    def _probe(self, probed: "weakref.ref[SearchTarget]", way: _Way) -> None:
        """Search until Milvus answers or the release is gone, then open the way again."""
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            time.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)
            target = probed()
            if target is None or self._answers(target):
                break
            del target
        log.info(
            "Milvus %s, after %.1f s", "answers again" if target else "need not answer any more", way.away
        )
        way.answers.set()
        with self._lock:
            if all(way.answers.is_set() for way in self._ways.values()):
                self._health.set("milvus", None)
                self._metrics.exact_in_use.set(0)

    def _answers(self, target: SearchTarget) -> bool:
        query = np.zeros((1, target.dimension), dtype=np.float32)
        query[0, 0] = 1.0
        try:
            self._milvus.search(target.collection, query, 1)
        except MilvusError as error:
            self._health.set("milvus", str(error))
            return False
        return True


def search_exactly(
    target: SearchTarget,
    vectors: Vectors,
    wishes: Sequence[Wish],
    _cancellation: Cancellation | None = None,
    blocklist: frozenset[int] = NOTHING,
    *,
    milvus_away: bool = False,
) -> FoundLists:
    """The best lists by the worker's own copy of the vectors; Milvus is not called."""
    return FoundLists(_exactly(target, blocklist)(vectors, wishes), ["exact"] * len(wishes), milvus_away)


def _exactly(target: SearchTarget, blocklist: frozenset[int]) -> SearchExactly:
    index = target.exact
    assert index is not None
    return lambda vectors, wishes: index.best(
        vectors,
        wishes,
        scale=target.scale,
        asked=target.filters.asked,
        withheld=blocklist,
    )

"""The ranked lists of a batch: from the index, or from the worker's own copy of the vectors.

The first search that fails closes the way to its collection for all batches. A probe searches until the index answers again,
so that no batch pays for finding out. Meanwhile batches wait, and after `milvus.exact_after_s` search exactly. Each release
has a way of its own: a collection that Milvus has lost does not keep batches from another.
"""

import logging
import math
import time
from dataclasses import dataclass, replace

import numpy as np

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
from worker.monitoring.threads import Cancellation
from worker.retrieval.availability import Way, Ways
from worker.retrieval.index import NO_ROWS, IndexStore, Rows, SearchTarget
from worker.retrieval.queries import Queries, RankedLists
from worker.retrieval.ranking import Ranking

log = logging.getLogger(__name__)

# How often a batch that waits for Milvus checks whether it was cancelled.
_CHECK_SECONDS = 0.1
# After so many refusals of an event alone, while Milvus answers the probe, the event is at fault.
_REFUSALS = 3
_REFUSED_BACKOFF_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class FoundLists:
    """The ranked lists of a batch, the source of each, and whether one is exact only because Milvus is away."""

    lists: RankedLists
    retrievals: list[Retrieval]
    milvus_away: bool


@dataclass(slots=True)
class _Batch:
    """A batch that is searched in an index, with the refusals so far."""

    target: SearchTarget
    queries: Queries
    blocked: Rows
    cancellation: Cancellation
    has_copy: bool  # that may be searched while the index is away
    refusals: int = 0
    search_exactly: bool = False
    gave_up: bool = False  # a search of the index that was slow, once

    def ranking(self) -> Ranking:
        return Ranking(
            self.queries,
            rows=len(self.target.items),
            scale=self.target.scale,
            blocklist=self.blocked,
            has_exact=self.target.exact is not None,
        )


class Retriever:
    """Finds the ranked lists of batches; several threads may use one."""

    def __init__(self, settings: Settings, store: IndexStore, health: Health, metrics: Metrics) -> None:
        self._retrieval = settings.worker.retrieval
        after = settings.milvus.exact_after_s
        self._exact_after = math.inf if after == "never" else after
        self._timeout = settings.milvus.timeout_s
        self._health = health
        self._metrics = metrics
        self._ways = Ways(store, self._timeout, health, metrics)

    def search(
        self,
        target: SearchTarget,
        queries: Queries,
        cancellation: Cancellation,
        blocklist: frozenset[int] = frozenset(),
    ) -> FoundLists:
        """The best list of each query, without the items of the blocklist.

        Raises:
            AbandonedError, SupersededError: the batch was cancelled while Milvus is away.
            RefusedQueriesError: Milvus answers others and refuses this batch, and there is no copy to search.
            SettingsError: Milvus refused the credentials.
        """
        if self._retrieval == "exact":
            return search_exactly(target, queries, cancellation, blocklist)
        has_copy = target.exact is not None and self._exact_after < math.inf
        batch = _Batch(target, queries, blocked_rows(target, blocklist), cancellation, has_copy)
        way = self._ways.to(target)
        while True:
            found = self._attempt(way, batch)
            if found is not None:
                return found
            cancellation.check()
            if self._must_search_exactly(way, batch):
                self._metrics.fell_back()
                return replace(search_exactly(target, queries, cancellation, blocklist), milvus_away=True)
            way.open.wait(_CHECK_SECONDS)

    def raise_failure(self) -> None:
        """Raise in this thread what ended a probe."""
        self._ways.raise_failure()

    def _attempt(self, way: Way, batch: _Batch) -> FoundLists | None:
        """Search the index; None where it is away, or too slow for a batch that can be searched exactly."""
        if not way.open.is_set():
            return None
        target, began = batch.target, time.monotonic()
        ranking, size = batch.ranking(), 0
        try:
            for call in ranking.calls(way.call_size):
                call_began, size = time.monotonic(), len(call.places)
                seconds = call_began - began
                if seconds > self._timeout and not self._goes_on(way, batch, ranking, seconds):
                    return None
                hits = way.index.search(
                    call.vectors, call.limit, filter_=call.filter, exclusions=call.exclusions
                )
                way.call_size.took(size, time.monotonic() - call_began)
                ranking.take(call, hits)
        except RefusedCallError as error:
            self._refused(way, batch, error)
            return None
        except SlowMilvusError as error:
            way.call_size.too_long(size)
            self._ways.close(way, target, str(error))
            return None
        except MilvusError as error:
            self._ways.close(way, target, str(error))
            return None
        finally:
            if id(batch) in way.slow_batches:
                way.slow_batches.discard(id(batch))
                self._ways.say_if_well()
        return self._found(batch, ranking)

    def _found(self, batch: _Batch, ranking: Ranking) -> FoundLists:
        """The lists of a batch whose calls are done; those left to exact search are searched now."""
        target, places = batch.target, ranking.exact
        exact = None
        retrievals: list[Retrieval] = [self._retrieval] * len(batch.queries)
        if len(places):
            assert target.exact is not None
            exact = target.exact.best(batch.queries.take(places), scale=target.scale, blocklist=batch.blocked)
            for place in places.tolist():
                retrievals[place] = "exact"
        self._metrics.short_lists.inc(ranking.short)
        self._metrics.exact_in_use.set(0)
        return FoundLists(ranking.lists(exact), retrievals, milvus_away=False)

    def _must_search_exactly(self, way: Way, batch: _Batch) -> bool:
        if batch.search_exactly:
            return True
        return batch.has_copy and not way.open.is_set() and way.away >= self._exact_after

    def _goes_on(self, way: Way, batch: _Batch, ranking: Ranking, seconds: float) -> bool:
        """Whether a batch that took longer than one call may keeps searching the index.

        Each call was answered in time, and all of them together were not. Without a copy the batch goes on until it is
        cancelled; so does one that gave up once already, because the probe may be quicker than the batch again and again.
        """
        count = len(batch.queries)
        problem = (
            f"Milvus is slow: it searched {ranking.searched} vectors of a batch of {count} in {seconds:.1f} s"
        )
        if batch.has_copy and not batch.gave_up:
            batch.gave_up = True
            self._ways.close(way, batch.target, problem, count)
            return False
        if id(batch) not in way.slow_batches:
            log.warning("%s; the batch waits for it", problem)
        way.slow_batches.add(id(batch))
        self._health.set("milvus", problem)
        batch.cancellation.check()
        return True

    def _refused(self, way: Way, batch: _Batch, error: RefusedCallError) -> None:
        """Find out whether Milvus refuses this batch alone. Larger batches are halved at once, an event is tried again.

        Raises:
            RefusedQueriesError: it does, again and again, and there is no copy.
        """
        if not self._ways.answers(way, batch.target.dimension):
            self._ways.close(way, batch.target, str(error))
            return
        batch.refusals += 1
        self._metrics.search_retries.inc()
        refused = batch.refusals >= _REFUSALS
        if not batch.has_copy and (len(batch.queries) > 1 or refused):
            raise RefusedQueriesError(str(error)) from error
        time.sleep(_REFUSED_BACKOFF_SECONDS * batch.refusals)
        batch.search_exactly = refused


def search_exactly(
    target: SearchTarget,
    queries: Queries,
    _: Cancellation | None = None,
    blocklist: frozenset[int] = frozenset(),
) -> FoundLists:
    """As `Retriever.search`, in the worker's own copy of the vectors."""
    assert target.exact is not None
    lists = target.exact.best(queries, scale=target.scale, blocklist=blocked_rows(target, blocklist))
    return FoundLists(lists, ["exact"] * len(queries), milvus_away=False)


def blocked_rows(target: SearchTarget, blocklist: frozenset[int]) -> Rows:
    """The rows of the items that a blocklist names."""
    if not blocklist:
        return NO_ROWS
    rows = target.items.rows(np.array(sorted(blocklist), np.int64))
    return rows[rows >= 0]

"""From hits to ranked lists: the best `k` items that qualify for a query, with the fewest and smallest searches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.profile import Filter
from worker.retrieval.index import NO_ROWS, Hits, Rows, VectorIndex, Vectors
from worker.retrieval.queries import Mask, Queries, RankedLists, Scores, merged, published

# A search costs by its limit (one of 50 five times one of 5, one of 300 twenty times), and one call has one limit and one
# filter for all its queries. So queries are grouped by these limits, and searched again where their lists came up short.
LIMITS = (6, 10, 20, 64, 110, 310, 1_300, 5_200, 16_384)  # Milvus refuses more than 16,384
_LIMITS = np.array(LIMITS)


class CallSize(Protocol):
    """How many vectors a call may hold now."""

    @property
    def most(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One search for the queries at some places of the batch, which ascend."""

    places: Rows
    vectors: Vectors
    limit: int
    filter: Filter | None
    exclusions: Rows


class Ranking:
    """The calls that the queries of a batch need, and the ranked lists that follow from their hits.

    The lists are those that fetching every row would give: a list is complete when no row that was not fetched could
    stand in it. An incomplete list is searched for again, with a larger limit or by exact search. With exact search, queries
    with a filter are left to it from the start, because a call of the index serves only one filter.
    """

    def __init__(
        self, queries: Queries, *, rows: int, scale: float, blocklist: Rows = NO_ROWS, has_exact: bool = False
    ) -> None:
        """`rows` is the size of the catalogue; `blocklist` are rows that no query gets."""
        self._queries = queries
        self._rows = rows
        self._scale = scale
        self._blocklist = blocklist
        self._blocked: Mask | None = None
        if len(blocklist):
            self._blocked = np.zeros(rows, np.bool_)
            self._blocked[blocklist] = True
        self._has_exact = has_exact
        self._excluded = np.bincount(queries.owners, minlength=len(queries)) if len(queries.owners) else None
        self._pending: dict[tuple[int, Filter | None, bool], list[Rows]] = {}
        self._parts: list[tuple[Rows, RankedLists]] = []
        self._exact: list[Rows] = []
        self.searched = 0  # vectors
        self.short = 0  # lists that were incomplete, each time that one was
        self._begin()

    @property
    def exact(self) -> Rows:
        """Places of the queries that are left to exact search."""
        return np.sort(np.concatenate(self._exact)) if self._exact else NO_ROWS

    def calls(self, size: CallSize) -> Iterator[Call]:
        """The calls, each of at most `size.most` queries, until every list is complete.

        The hits of a call must be taken before the next.
        """
        while self._pending:
            (limit, filter_, again), parts = self._pending.popitem()
            places = np.sort(np.concatenate(parts)) if len(parts) > 1 else parts[0]
            exclusions = self._blocklist if again else NO_ROWS
            start = 0
            while start < len(places):
                some = places[start : start + size.most]
                start += len(some)
                everything = len(some) == len(self._queries)
                vectors = self._queries.vectors if everything else self._queries.vectors[some]
                yield Call(some, vectors, limit, filter_, exclusions)

    def take(self, call: Call, hits: Hits) -> None:
        """Take the hits of a call."""
        self.searched += len(call.places)
        lists, complete = self._completed(hits, self._queries.take(call.places))
        if call.limit >= self._rows or call.limit == LIMITS[-1]:
            complete[:] = True
        self._parts.append((call.places[complete], _only(lists, complete)))
        again = call.places[~complete]
        self.short += len(again)
        if not len(again):
            return
        if self._has_exact:
            self._exact.append(again)
            return
        # Every excluded row may rank before the first that qualifies, so this many are enough but for ties.
        needs = self._queries.ks[again] + 1
        if self._excluded is not None:
            needs += self._excluded[again]
        self._group(again, np.maximum(needs, call.limit + 1), again=True)

    def lists(self, exact: RankedLists | None = None) -> RankedLists:
        """The ranked list of each query; `exact` are those of the queries left to exact search."""
        parts = self._parts if exact is None else [*self._parts, (self.exact, exact)]
        return merged(len(self._queries), parts)

    def _begin(self) -> None:
        places = np.arange(len(self._queries))
        if self._has_exact and self._queries.filters is not None:
            filtered = np.array([filter_ is not None for filter_ in self._queries.filters])
            self._exact.append(places[filtered])
            places = places[~filtered]
        if len(places):
            self._group(places, self._queries.ks[places] + 1, again=False)

    def _group(self, places: Rows, needs: Rows, *, again: bool) -> None:
        """Add queries to the pending calls, by limit and filter."""
        limits = _LIMITS[np.searchsorted(_LIMITS, needs).clip(max=len(_LIMITS) - 1)]
        filters = self._queries.filters
        if filters is None or (self._has_exact and not again):
            for limit in np.unique(limits).tolist():
                self._pending.setdefault((limit, None, again), []).append(places[limits == limit])
            return
        for place, limit in zip(places.tolist(), limits.tolist(), strict=True):
            self._pending.setdefault((limit, filters[place], again), []).append(np.array([place]))

    def _completed(self, hits: Hits, queries: Queries) -> tuple[RankedLists, Mask]:
        """The lists of the queries from their hits, [n, m], and which of them no other row could change."""
        if not hits.rows.shape[1]:
            nothing = np.zeros(len(queries), np.int64)
            return RankedLists(NO_ROWS, np.empty(0), nothing), nothing.astype(np.bool_)
        rows, scores = _ordered(hits.rows, published(hits.scores, self._scale))
        qualifies = rows >= 0
        if len(queries.excluded):
            qualifies &= ~queries.excludes(rows)
        if self._blocked is not None:
            qualifies &= ~self._blocked[rows]
        ks = queries.ks[:, None]
        listed = qualifies & (np.cumsum(qualifies, axis=1) <= ks)
        lengths = listed.sum(axis=1)
        last = np.where(listed, scores, np.inf).min(axis=1)
        complete: Mask = (lengths == queries.ks) & (last > scores[:, -1])
        return RankedLists(rows[listed], scores[listed], lengths), complete


def _ordered(rows: Rows, scores: Scores) -> tuple[Rows, Scores]:
    """Highest score first, ties by row. Hits come in this order but for the ties, which most batches do not contain."""
    if (scores[:, 1:] < scores[:, :-1]).all():
        return rows, scores
    order = np.lexsort((rows, -scores), axis=-1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _only(lists: RankedLists, chosen: Mask) -> RankedLists:
    if chosen.all():
        return lists
    kept = np.repeat(chosen, lists.lengths)
    return RankedLists(lists.rows[kept], lists.scores[kept], lists.lengths[chosen])


@dataclass(frozen=True, slots=True)
class _AllAtOnce:
    most: int


def rank_all(
    index: VectorIndex, queries: Queries, *, rows: int, scale: float, blocklist: Rows = NO_ROWS
) -> RankedLists:
    """The ranked lists of the queries from an index alone."""
    ranking = Ranking(queries, rows=rows, scale=scale, blocklist=blocklist)
    for call in ranking.calls(_AllAtOnce(max(1, len(queries)))):
        ranking.take(
            call, index.search(call.vectors, call.limit, filter_=call.filter, exclusions=call.exclusions)
        )
    return ranking.lists()

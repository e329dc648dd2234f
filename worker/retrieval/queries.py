"""The queries of a batch and their ranked lists, in columns, because one entry is too small to be an object of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.profile import DEFAULT_K, Filter, ProfileEvent
from schemas.recommendation import SCORE_PLACES
from worker.retrieval.index import NO_ROWS, ItemIds, Rows, Vectors

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of n events.

    Attributes:
        vectors: float32 [n, dimension].
        ks: items wanted, [n].
        owners: the query of each exclusion, ascending, [exclusions].
        excluded: the row that it must not get, [exclusions].
        filters: the filter of each query, or None where no query has one.
    """

    vectors: Vectors
    ks: Rows
    owners: Rows = field(default_factory=lambda: NO_ROWS)
    excluded: Rows = field(default_factory=lambda: NO_ROWS)
    filters: Sequence[Filter | None] | None = None

    def __len__(self) -> int:
        return len(self.ks)

    def take(self, places: Rows) -> "Queries":
        """The queries at these places, which ascend."""
        if len(places) == len(self):
            return self
        new = np.full(len(self), -1, np.int64)
        new[places] = np.arange(len(places))
        owners = new[self.owners]
        kept = owners >= 0
        filters = None if self.filters is None else [self.filters[place] for place in places.tolist()]
        return Queries(self.vectors[places], self.ks[places], owners[kept], self.excluded[kept], filters)

    def excludes(self, rows: Rows) -> Mask:
        """Which of the rows found for the queries, [n, m], are excluded by their query."""
        stride = 1 + max(int(rows.max(initial=0)), int(self.excluded.max(initial=0)))
        excluded = np.sort(self.owners * stride + self.excluded)
        found = np.arange(len(self))[:, None] * stride + rows
        at = np.searchsorted(excluded, found).clip(max=len(excluded) - 1)
        excludes: Mask = excluded[at] == found
        return excludes


class RankedItem(NamedTuple):
    """An entry of a ranked list."""

    row: int
    score: float


@dataclass(frozen=True, slots=True)
class RankedLists:
    """The ranked lists of n queries one after another: rows and published scores, best first, and n lengths."""

    rows: Rows
    scores: Scores
    lengths: Rows

    def by_query(self) -> list[list[RankedItem]]:
        """Each list as objects, for code that looks at single entries."""
        flat = list(map(RankedItem, self.rows.tolist(), self.scores.tolist()))
        ends = np.cumsum(self.lengths).tolist()
        return [flat[end - length : end] for end, length in zip(ends, self.lengths.tolist(), strict=True)]


QUERY_FIELDS = ("recent", "k", "exclude", "filter")
"""The fields of an event that a query is made from. With the inputs of the user tower they are all that its list depends on."""


def queries_of(profiles: Sequence[ProfileEvent], vectors: Vectors, items: ItemIds) -> Queries:
    """The queries of events, whose vectors are float32 [n, dimension]."""
    lengths = [len(profile.recent or ()) + len(profile.exclude or ()) for profile in profiles]
    owners = excluded = NO_ROWS
    if total := sum(lengths):
        named = chain.from_iterable((profile.recent or (), profile.exclude or ()) for profile in profiles)
        rows = items.rows(np.fromiter(chain.from_iterable(named), np.int64, total))
        known = rows >= 0
        owners, excluded = np.repeat(np.arange(len(profiles)), lengths)[known], rows[known]
    filters = [profile.filter if _asks(profile.filter) else None for profile in profiles]
    ks = np.array([profile.k or DEFAULT_K for profile in profiles], np.int64)
    return Queries(vectors, ks, owners, excluded, filters if any(filters) else None)


def _asks(filter_: Filter | None) -> bool:
    return filter_ is not None and any((filter_.genres, filter_.not_genres, filter_.years))


def published(scores: NDArray[np.floating], scale: float) -> Scores:
    """The scores of the metric as they are published."""
    return np.round(scores.astype(np.float64) * scale, SCORE_PLACES)


def cut(owners: Rows, rows: Rows, scores: Scores, ks: Rows) -> RankedLists:
    """The best `ks` [n] candidates of each query, by score, ties by row.

    Args:
        owners: the query of each candidate, [candidates], in any order; `rows` and `scores` are the candidate's own.
    """
    order = np.lexsort((rows, -scores, owners))
    counts = np.bincount(owners, minlength=len(ks))
    rank = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = order[rank < np.repeat(ks, counts)]
    return RankedLists(rows[kept], scores[kept], np.minimum(counts, ks))


def merged(n: int, parts: Sequence[tuple[Rows, RankedLists]]) -> RankedLists:
    """The ranked lists of n queries from parts, each with the places of its queries; every query is in one part."""
    if len(parts) == 1:
        return parts[0][1]
    lengths = np.zeros(n, np.int64)
    for places, part in parts:
        lengths[places] = part.lengths
    owners = np.concatenate([np.repeat(places, part.lengths) for places, part in parts])
    order = np.argsort(owners, kind="stable")
    return RankedLists(
        np.concatenate([part.rows for _, part in parts])[order],
        np.concatenate([part.scores for _, part in parts])[order],
        lengths,
    )

"""What an event wants, and the lists that it gets: those of a whole batch in columns, because a pick is too small to be
an object of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.profile import Filter
from schemas.recommendation import SCORE_PLACES

Ids = NDArray[np.int64]
Places = NDArray[np.intp]
Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]

NOTHING: frozenset[int] = frozenset()


@dataclass(slots=True)
class Wish:
    """What one event wants: how many movies, which never, and which qualify at all (None: every one)."""

    k: int
    never: frozenset[int] = NOTHING
    filter: Filter | None = None


class Pick(NamedTuple):
    """A movie of a list."""

    movie_id: int
    score: float


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of n events one after another, each best first: movies and published scores [total], lengths [n]."""

    movie_ids: Ids
    scores: Scores
    lengths: Ids

    def picks(self) -> list[list[Pick]]:
        """List by list, for whoever looks at single movies."""
        flat = list(map(Pick, self.movie_ids.tolist(), self.scores.tolist()))
        ends = np.cumsum(self.lengths).tolist()
        return [flat[end - length : end] for end, length in zip(ends, self.lengths.tolist(), strict=True)]


def published(raw: NDArray[np.floating], scale: float) -> Scores:
    """Scores as they are published, from what the metric gives."""
    return np.round(raw.astype(np.float64) * scale, SCORE_PLACES)


def cut(queries: Places, movie_ids: Ids, scores: Scores, ks: Ids) -> Lists:
    """Each query's best `ks` of its candidates, by score, ties by movie id.

    Args:
        queries, movie_ids, scores: [candidates], in any order; ks: [n].
    """
    order = np.lexsort((movie_ids, -scores, queries))
    counts = np.bincount(queries, minlength=len(ks))
    place = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = order[place < np.repeat(ks, counts)]
    return Lists(movie_ids[kept], scores[kept], np.minimum(counts, ks))


def merged(n: int, parts: Sequence[tuple[Sequence[int], Lists]]) -> Lists:
    """The lists of n events from parts, each with the places of its events; every event is in one part."""
    if len(parts) == 1 and len(parts[0][0]) == n and list(parts[0][0]) == list(range(n)):
        return parts[0][1]
    lengths = np.zeros(n, np.int64)
    for places, part in parts:
        lengths[list(places)] = part.lengths
    owners = np.concatenate([np.repeat(places, part.lengths) for places, part in parts])
    order = np.argsort(owners, kind="stable")
    return Lists(
        np.concatenate([part.movie_ids for _, part in parts])[order],
        np.concatenate([part.scores for _, part in parts])[order],
        lengths,
    )

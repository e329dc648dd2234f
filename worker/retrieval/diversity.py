"""Diversity: the items of a pool that are good and unlike each other.

Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): the first choice is the best item, and each later choice
the item of the largest `(1 - strength) * relevance - strength * similarity`, where similarity is the largest to an item
chosen before. Only membership is chosen: the list itself is ranked by score, as any other.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.retrieval.index import Rows, Vectors
from worker.retrieval.queries import Mask, Queries, RankedLists, Scores

POOL = 50
"""Items to choose from: the best that qualify. A list as long as the pool leaves no choice."""

# The vectors of 64 pools of 50 items, dimension 64, are 0.8 MB, which stays in a core's cache.
_LISTS_AT_A_TIME = 64

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Diversity:
    """The weight of being unlike against being good, 0 (none) to 1 (all)."""

    strength: float

    def pools(self, queries: Queries) -> Queries:
        """The queries with pools to choose from."""
        return replace(queries, ks=np.maximum(queries.ks, POOL))

    def choose(self, pools: RankedLists, ks: Rows, vectors: Vectors) -> RankedLists:
        """The lists of `ks` items from the pools that were found; `vectors` are the catalogue's."""
        starts = np.cumsum(pools.lengths) - pools.lengths
        ranks = np.arange(len(pools.scores)) - np.repeat(starts, pools.lengths)
        chosen = ranks < np.repeat(ks, pools.lengths)
        wide = np.flatnonzero(pools.lengths > ks)
        for at in range(0, len(wide), _LISTS_AT_A_TIME):
            some = wide[at : at + _LISTS_AT_A_TIME]
            there = np.arange(POOL) < pools.lengths[some, None]
            places = np.where(there, starts[some, None] + np.arange(POOL), starts[some, None])
            unit = of_length_one(vectors[pools.rows[places]])
            scores = np.where(there, pools.scores[places], -np.inf)
            chosen[places[there]] = marginal(scores, unit, ks[some], self.strength)[there]
        return RankedLists(pools.rows[chosen], pools.scores[chosen], np.minimum(pools.lengths, ks))


def marginal(scores: Scores, unit: Vectors, ks: Rows, strength: float) -> Mask:
    """The chosen items of each pool, as a mask [n, pool].

    Args:
        scores: [n, pool], best first, -inf where a pool has no more. Relevance is the score scaled to 0 for the last and 1 for
            the first of a pool, so that one strength means the same for every model.
        unit: vectors of length 1, [n, pool, dimension]; similarity is their cosine.
        ks: items to choose, [n], each 1 or more.
    """
    relevance = _relevance(scores)
    chosen = np.zeros(scores.shape, np.bool_)
    chosen[:, 0] = True
    nearest = _cosines(unit, unit[:, 0])
    for number in range(1, int(ks.max(initial=1))):
        gain = (1.0 - strength) * relevance - strength * nearest
        gain[chosen | np.isneginf(scores)] = -np.inf
        best = gain.argmax(axis=1)  # the first of equals: the better score, then the smaller id
        rows = np.flatnonzero((ks > number) & np.isfinite(gain.max(axis=1)))
        chosen[rows, best[rows]] = True
        nearest = np.maximum(nearest, _cosines(unit, unit[np.arange(len(best)), best]))
    return chosen


def _relevance(scores: Scores) -> _Floats:
    there = np.isfinite(scores)
    last = np.where(there, scores, np.inf).min(axis=1, keepdims=True)
    span = scores[:, :1] - last
    relevance: _Floats = np.where(there, scores - last, 0.0) / np.where(span > 0, span, 1.0)
    return relevance


def of_length_one(vectors: Vectors) -> Vectors:
    """Scale vectors [..., dimension] to length 1; a zero vector stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, 1e-12)
    return unit


def _cosines(unit: Vectors, chosen: Vectors) -> _Floats:
    """The cosines of each pool [n, pool, dimension] with one of its items [n, dimension]."""
    cosines: _Floats = np.matmul(unit, chosen[:, :, None])[..., 0].astype(np.float64)
    return cosines

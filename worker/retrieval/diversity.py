"""Diversity: of the first movies for a person, those that are good and unlike each other.

Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): the first choice is the best movie, and each one after it the
one of largest `(1 - strength) * relevance - strength * similarity`, where similarity is that to the nearest of those
chosen before. Choosing decides which movies stand in a list; there they are by score, as in any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.retrieval.exact import ExactIndex
from worker.retrieval.lists import Ids, Lists, Scores, Vectors, Wish

POOL = 50
"""Movies that are chosen from, the best that qualify; a list as long as that has no choice."""

# The vectors of 64 pools of 50 movies, dimension 64, are 0.8 MB, which stays in a core's cache.
_LISTS_AT_A_TIME = 64

_Mask = NDArray[np.bool_]
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Diversity:
    """How much being unlike counts beside being good, 0 (it does not) to 1 (nothing else does)."""

    strength: float

    def pools(self, wishes: Sequence[Wish]) -> list[Wish]:
        """What is to be searched for, so that there is something to choose from."""
        return [Wish(max(wish.k, POOL), wish.never, wish.filter) for wish in wishes]

    def choose(self, pools: Lists, wishes: Sequence[Wish], index: ExactIndex) -> Lists:
        """Of what was found for `pools(wishes)`, the list of each wish."""
        ks = np.array([wish.k for wish in wishes], np.int64)
        starts = np.cumsum(pools.lengths) - pools.lengths
        ranks = np.arange(len(pools.scores)) - np.repeat(starts, pools.lengths)
        chosen = ranks < np.repeat(ks, pools.lengths)
        wide = np.flatnonzero(pools.lengths > ks)
        for at in range(0, len(wide), _LISTS_AT_A_TIME):
            some = wide[at : at + _LISTS_AT_A_TIME]
            there = np.arange(POOL) < pools.lengths[some, None]
            places = np.where(there, starts[some, None] + np.arange(POOL), starts[some, None])
            unit = of_length_one(index.vectors[index.places(pools.movie_ids[places])])
            scores = np.where(there, pools.scores[places], -np.inf)
            chosen[places[there]] = marginal(scores, unit, ks[some], self.strength)[there]
        return Lists(pools.movie_ids[chosen], pools.scores[chosen], np.minimum(pools.lengths, ks))


def marginal(scores: Scores, unit: Vectors, ks: Ids, strength: float) -> _Mask:
    """Which of each pool's movies are chosen, bool [n, pool].

    Args:
        scores: [n, pool], best first, -inf where a pool has no more; relevance is the score, 0 for the last and 1 for the
            first of a pool, so that one strength means the same for every model.
        unit: their vectors of length 1, [n, pool, dimension]; similarity is their cosine.
        ks: how many to choose, [n], each 1 or more.
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
    """Vectors [..., dimension] scaled to length 1; one without a length stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, 1e-12)
    return unit


def _cosines(unit: Vectors, chosen: Vectors) -> _Floats:
    """Of each pool [n, pool, dimension] with one of its movies [n, dimension]."""
    cosines: _Floats = np.matmul(unit, chosen[:, :, None])[..., 0].astype(np.float64)
    return cosines

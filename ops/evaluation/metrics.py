"""Ranking metrics of one person: what was wanted, and where it came."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

CUT = 10  # places that count, as published: NDCG@10, HR@10

# What the place of a hit is worth: 1 / log2(place + 1), places from 1.
DISCOUNTS: Floats = 1.0 / np.log2(np.arange(2, CUT + 2))


def hits(lists: Rows, wanted: list[Rows]) -> NDArray[np.bool_]:
    """Whether each place of lists [n, CUT] holds a movie of the n sets `wanted`; -1 is an empty place."""
    return np.stack([np.isin(row, want) for row, want in zip(lists, wanted, strict=True)])


def ndcg(found: NDArray[np.bool_], wanted: Rows) -> Floats:
    """NDCG@10 of hits [n, CUT], for numbers of wanted movies [n]; relevance is 0 or 1."""
    ideal = np.concatenate([[0.0], np.cumsum(DISCOUNTS)])[np.minimum(wanted, CUT)]
    gained: Floats = found @ DISCOUNTS / ideal
    return gained


def recall(found: NDArray[np.bool_], wanted: Rows) -> Floats:
    """Recall@10: the share of the wanted that is among the first 10; for one wanted movie it is HR@10."""
    share: Floats = found.sum(axis=1) / wanted
    return share


def top(scores: NDArray[np.floating], seen: list[Rows], places: int = CUT) -> Rows:
    """The first rows of scores [n, movies], best first and ties by row, without what each has seen: [n, places]; -1 where
    none is."""
    scores = scores.copy()
    for row, movies in zip(scores, seen, strict=True):
        row[movies] = -np.inf
    return best(scores, places)


def best(scores: NDArray[np.floating], places: int = CUT) -> Rows:
    """The first columns of each row, best first and ties by column: [n, places]; -1 where all that is left is -inf."""
    cut = min(places, scores.shape[1])
    # One more than is wanted, so that a tie at the cut is seen.
    edge = -np.partition(-scores, cut - 1, axis=1)[:, cut - 1]
    lists = np.full((len(scores), places), -1, np.int64)
    for row, (of_movies, least) in enumerate(zip(scores, edge, strict=True)):
        among = np.flatnonzero(of_movies >= least)
        chosen = among[np.lexsort((among, -of_movies[among]))][:cut]
        lists[row, : len(chosen)] = np.where(np.isfinite(of_movies[chosen]), chosen, -1)
    return lists

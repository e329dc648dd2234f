"""Ranking metrics of each case, and their means with bootstrap intervals over users (Efron, 1979)."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ops.evaluation import metrics
from ops.evaluation.holdout import Case
from schemas.manifest import Figure

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

CUT = 10  # places that count, as published: NDCG@10, HR@10

# Gain of a hit by its place: 1 / log2(place + 1), places from 1.
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
    """The first rows of scores [n, movies], best first and ties by row, without seen movies: [n, places]; -1 is an empty
    place."""
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


# Cases scored at a time: 4,000 movies for each are 16 MB.
AT_A_TIME = 1_000

Scores = NDArray[np.float32]


def lists_of_ranking(ranking: Callable[[list[Case]], Scores], cases: list[Case]) -> Rows:
    """The first 10 movies of each case, [n, 10], without seen ones."""
    return np.concatenate(
        [metrics.top(ranking(part), [case.seen for case in part]) for part in _parts(cases)]
    )


def ndcg_of_lists(lists: Rows, cases: list[Case]) -> NDArray[np.float64]:
    """NDCG@10 of each case, [n]."""
    found = metrics.hits(lists, [case.wanted for case in cases])
    return metrics.ndcg(found, np.array([len(case.wanted) for case in cases]))


def ndcg_of_ranking(ranking: Callable[[list[Case]], Scores], cases: list[Case]) -> float:
    """Mean NDCG@10."""
    return float(ndcg_of_lists(lists_of_ranking(ranking, cases), cases).mean())


def _parts(cases: list[Case]) -> Iterator[list[Case]]:
    return (cases[start : start + AT_A_TIME] for start in range(0, len(cases), AT_A_TIME))


RESAMPLES = 1_000
_LOW, _HIGH = 2.5, 97.5  # percentiles: 95 % between them
_SEED = 0


def mean_figure(values: NDArray[np.float64]) -> Figure:
    """The mean of a value for each of n users, [n], and the interval of that mean."""
    low, high = np.percentile(_resamples(len(values)) @ values.astype(np.float32), [_LOW, _HIGH])
    return Figure(value=float(values.mean()), low=float(low), high=float(high), users=len(values))


@lru_cache(maxsize=4)
def _resamples(users: int) -> NDArray[np.float32]:
    """The weight of each user in each resample, [RESAMPLES, users]; the same ones for the same number of users."""
    counts = np.random.default_rng(_SEED).multinomial(users, np.full(users, 1.0 / users), size=RESAMPLES)
    weights: NDArray[np.float32] = counts.astype(np.float32) / np.float32(users)
    return weights

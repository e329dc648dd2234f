"""The weights of the heads, chosen by NDCG@10 on the validation part."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.evaluation import metrics
from ops.evaluation.holdout import Case
from ops.evaluation.metrics import ndcg_of_lists
from ops.training.batches import Tables
from ops.training.sequence import FIRST_WEIGHTS, WEIGHTS_FROM, SequenceModel
from worker.release.features import RECENT, embed_by_length
from worker.release.paddle_engine import paddle

Scores = NDArray[np.float32]
Weights = tuple[float, float, float, float]

# Candidates for `later` beside `next`, then for `liked` beside both, then for `kin`. Without a history there is no `next`.
LATER_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
LIKED_WEIGHTS = (0.0, 0.1, 0.2, 0.4)
LIKED_ALONE_WEIGHTS = (0.0, 0.5, 1.0)
KIN_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4)
# Shorter histories get as much of `kin` as costs no more than a standard error (Hastie et al., "The elements of statistical
# learning", 2009, 7.10): such a user judges a list by its looks. Longer ones gain nothing by it, and have none (docs/quality.md).
KIN_BELOW = 5
# Lengths to which the validation histories are cut, for weights of short ones: one movie, and between two and four.
SHORTER = (1, 3)


def shortened(cases: list[Case]) -> list[Case]:
    """The cases with longer histories, once for each of `SHORTER`, cut to that many of their last movies."""
    return [case.last(length) for length in SHORTER for case in cases if len(case.recent) > length]


def best_weights(heads: list[Scores], cases: list[Case]) -> tuple[list[list[float]], NDArray[np.float64]]:
    """The weights [4, 4] by the length of a history (`WEIGHTS_FROM`), and the NDCG@10 of each case with them, [n].

    `heads` are the scores of each head, [n, movies]. Among equally good weights the first wins; of `kin`, in histories of
    fewer than `KIN_BELOW` movies, the largest that costs no more than a standard error.
    """
    rows = np.searchsorted(WEIGHTS_FROM, [len(case.recent) for case in cases], side="right") - 1
    weights, figures = [list(row) for row in FIRST_WEIGHTS], np.zeros(len(cases))
    for row in range(len(weights)):
        places = np.flatnonzero(rows == row)
        if len(places):
            theirs = [scores[places] for scores in heads]
            best, figures[places] = _best(theirs, [cases[place] for place in places], WEIGHTS_FROM[row])
            weights[row] = list(best)
    return weights, figures


def head_scores(network: SequenceModel, tables: Tables, cases: list[Case]) -> list[Scores]:
    """Scores of each head of a settled network, unweighted, for every movie and each case: [n, movies] each."""
    inputs = tables.profiles([case.user for case in cases], [case.named for case in cases])
    longest = max([1, *(len(case.recent) for case in cases)])
    inputs[RECENT] = np.zeros((len(cases), longest), np.int64)
    for row, case in zip(inputs[RECENT], cases, strict=True):
        row[: len(case.recent)] = tables.movies["movie_id"][case.recent]

    def embed(part: Any) -> Scores:
        vectors: Scores = network.user([*map(paddle.to_tensor, part.values())]).numpy()
        return vectors

    with paddle.no_grad():
        network.user.shares.set_value(paddle.ones_like(network.user.shares))
        users = embed_by_length(embed, inputs, network.dimension)
        movies = network.movie(*map(paddle.to_tensor, tables.movies.values())).numpy()
    ends = np.cumsum(network.sizes)[:-1]
    return [
        user @ movie.T
        for user, movie in zip(np.split(users, ends, 1), np.split(movies, ends, 1), strict=True)
    ]


def _best(heads: list[Scores], cases: list[Case], movies: int) -> tuple[Weights, NDArray[np.float64]]:
    """Weights for histories of at least so many movies: one head after another, each beside those before it."""
    if not movies:
        return _first_best(
            heads, cases, [(0.0, 1.0 - liked, liked, 0.0) for liked in LIKED_ALONE_WEIGHTS[::-1]]
        )
    (following, later, *_), _ = _first_best(
        heads, cases, [(1.0 - weight, weight, 0.0, 0.0) for weight in LATER_WEIGHTS]
    )
    best = _first_best(heads, cases, [(following, later, weight, 0.0) for weight in LIKED_WEIGHTS])
    if movies >= KIN_BELOW:
        return best
    return _last_good(heads, cases, [(*best[0][:3], weight) for weight in KIN_WEIGHTS])


def _first_best(
    heads: list[Scores], cases: list[Case], among: Sequence[Weights]
) -> tuple[Weights, NDArray[np.float64]]:
    tried = [(weights, _ndcg(heads, cases, weights)) for weights in among]
    return max(tried, key=lambda one: float(one[1].mean()))


def _last_good(
    heads: list[Scores], cases: list[Case], among: Sequence[Weights]
) -> tuple[Weights, NDArray[np.float64]]:
    """The last that is within a standard error of the best."""
    tried = [(weights, _ndcg(heads, cases, weights)) for weights in among]
    best = max((figures for _, figures in tried), key=lambda figures: float(figures.mean()))
    enough = best.mean() - best.std() / np.sqrt(len(best))
    return next(one for one in reversed(tried) if one[1].mean() >= enough)


def _ndcg(heads: list[Scores], cases: list[Case], weights: Weights) -> NDArray[np.float64]:
    scores = sum(head * np.float32(weight) for head, weight in zip(heads, weights, strict=True) if weight)
    return ndcg_of_lists(metrics.top(np.asarray(scores), [case.seen for case in cases]), cases)

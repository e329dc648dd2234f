"""Beyond accuracy: coverage of the catalogue, novelty, evenness, and the diversity of each list."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ops.data.ratings import Ratings
from ops.evaluation.metrics import CUT
from worker.retrieval.diversity import marginal, of_length_one

Rows = NDArray[np.int64]


def coverage(lists: Rows, movies: int) -> float:
    """Share of the catalogue that stands in at least one list of rows [n, 10]."""
    return len(np.unique(lists[lists >= 0])) / movies


def novelty(lists: Rows, train: Ratings, users: int, movies: int) -> float:
    """Mean of -log2 of the share of users who rated a recommended movie (Vargas and Castells, 2011); bits."""
    share = np.maximum(np.bincount(train.movies, minlength=movies), 1) / users
    return float(-np.log2(share[lists[lists >= 0]]).mean())


def gini(lists: Rows, movies: int) -> float:
    """Gini coefficient of how often each movie of the catalogue is recommended: 0 evenly, 1 always the same."""
    shown = np.sort(np.bincount(lists[lists >= 0], minlength=movies)).astype(np.float64)
    place = np.arange(1, movies + 1)
    return float((2 * place - movies - 1) @ shown / (movies * shown.sum()))


Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]

STRENGTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
# Lists at a time: the vectors of 500 pools of 50 movies, dimension 64, are 6 MB.
_AT_A_TIME = 500


def group(strength: float) -> str:
    """The name of a strength in those of figures, as leave_one_out.diversity_30.ndcg@10; in percent, without a dot."""
    return f"diversity_{round(100 * strength)}"


def diverse_lists(pools: Rows, scores: Floats, vectors: Vectors, strength: float) -> Rows:
    """The lists [n, CUT] that the worker would choose from pools [n, pool] of rows of `vectors`; -1 is an empty place."""
    unit = of_length_one(vectors)
    lists = np.full((len(pools), CUT), -1, np.int64)
    ks = np.full(_AT_A_TIME, CUT, np.int64)
    for start in range(0, len(pools), _AT_A_TIME):
        some, of_some = pools[start : start + _AT_A_TIME], scores[start : start + _AT_A_TIME]
        chosen = marginal(of_some, unit[some], ks[: len(some)], strength) & (some >= 0)
        for place, (row, mine) in enumerate(zip(some, chosen, strict=True), start):
            lists[place, : mine.sum()] = row[mine]
    return lists


def intra_list_distance(lists: Rows, vectors: Vectors) -> Floats:
    """The mean of 1 - cosine over the pairs of each list [n, CUT] (Smyth and McClave, 2001), [n]; 0 for fewer than two."""
    unit = of_length_one(vectors)
    return _over_pairs(lists, lambda some: 1.0 - _products(unit[some]))


def genre_distance(lists: Rows, genres: Vectors) -> Floats:
    """The same by genres [movies, genres], 0 or 1, which nothing ranks by: 1 - Jaccard's index."""

    def distances(some: Rows) -> NDArray[np.floating]:
        marks = genres[some]
        both, sizes = _products(marks), marks.sum(axis=2)
        either = sizes[:, :, None] + sizes[:, None, :] - both
        return 1.0 - np.where(either > 0, both / np.maximum(either, 1.0), 1.0)

    return _over_pairs(lists, distances)


def genre_marks(genres: Sequence[Sequence[str]]) -> Vectors:
    """1 where a movie [n] has a genre, 0 elsewhere."""
    names = {
        name: column for column, name in enumerate(sorted({name for of_one in genres for name in of_one}))
    }
    marks = np.zeros((len(genres), len(names)), np.float32)
    for row, of_one in enumerate(genres):
        marks[row, [names[name] for name in of_one]] = 1.0
    return marks


def _products(vectors: Vectors) -> Vectors:
    products: Vectors = np.matmul(vectors, vectors.transpose(0, 2, 1))
    return products


def _over_pairs(lists: Rows, distances: Callable[[Rows], NDArray[np.floating]]) -> Floats:
    """The mean of `distances` [n, CUT, CUT] over the pairs of each list."""
    there = lists >= 0
    pairs = (there[:, :, None] & there[:, None, :]) & ~np.eye(lists.shape[1], dtype=np.bool_)
    total = (distances(lists) * pairs).sum(axis=(1, 2), dtype=np.float64)
    means: Floats = total / np.maximum(pairs.sum(axis=(1, 2)), 1)
    return means

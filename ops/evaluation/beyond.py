"""Beyond accuracy: how much of the catalogue is shown, how unusual it is, and how evenly."""

import numpy as np
from numpy.typing import NDArray

from ops.data.ratings import Ratings

Rows = NDArray[np.int64]


def coverage(lists: Rows, movies: int) -> float:
    """Share of the catalogue that stands in at least one list of rows [n, 10]."""
    return len(np.unique(lists[lists >= 0])) / movies


def novelty(lists: Rows, train: Ratings, users: int, movies: int) -> float:
    """Mean of -log2 of the share of users who rated what is recommended (Vargas and Castells, 2011); bits."""
    share = np.maximum(np.bincount(train.movies, minlength=movies), 1) / users
    return float(-np.log2(share[lists[lists >= 0]]).mean())


def gini(lists: Rows, movies: int) -> float:
    """Gini coefficient of how often each movie of the catalogue is recommended: 0 evenly, 1 always the same."""
    shown = np.sort(np.bincount(lists[lists >= 0], minlength=movies)).astype(np.float64)
    place = np.arange(1, movies + 1)
    return float((2 * place - movies - 1) @ shown / (movies * shown.sum()))

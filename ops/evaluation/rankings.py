"""What a ranking must beat: popularity, popularity among people alike, neighbours of what was watched, mean ratings."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.training.baselines import biases
from ops.training.holdout import Case
from schemas.profile import AGE_GROUPS, GENDERS

Scores = NDArray[np.float32]
Ranking = Callable[[list[Case]], Scores]  # cases [n] to scores [n, movies]

# Neighbours of a movie that count, as item-kNN is usually run.
NEIGHBOURS = 100


def rankings(data: MovieLens, train: Ratings) -> dict[str, Ranking]:
    """The baselines, fitted on `train`."""
    return {
        "popularity": popularity(data, train),
        "popularity, gender x age": popularity_among_alike(data, train),
        "item-kNN": item_knn(data, train),
        "biases": mean_stars(data, train),
    }


def popularity(data: MovieLens, train: Ratings) -> Ranking:
    """By the number of ratings."""
    counts = _counts(train, len(data.movies))
    return lambda cases: np.tile(counts, (len(cases), 1))


def popularity_among_alike(data: MovieLens, train: Ratings) -> Ranking:
    """By the number of ratings of people of the same gender and age group; among equals, by that of all."""
    groups = gender_and_age(data)
    size = len(GENDERS) * len(AGE_GROUPS)
    cells = np.bincount(
        groups[train.users] * len(data.movies) + train.movies, minlength=size * len(data.movies)
    ).reshape(size, -1)
    everybody = _counts(train, len(data.movies))
    scores = (cells + everybody / (everybody.max() + 1.0)).astype(np.float32)
    return lambda cases: scores[groups[[case.user for case in cases]]]


def gender_and_age(data: MovieLens) -> NDArray[np.int64]:
    """A number for each user's gender and age group."""
    genders = np.array([GENDERS.index(gender) for gender in data.users.genders])
    return genders * len(AGE_GROUPS) + np.searchsorted(AGE_GROUPS, data.users.ages)


def item_knn(data: MovieLens, train: Ratings) -> Ranking:
    """By the sum of the cosines, over who rated them, between a movie and all that were seen."""
    rated = np.zeros((len(data.users), len(data.movies)), np.float32)
    rated[train.users, train.movies] = 1.0
    together = rated.T @ rated
    norms = np.sqrt(np.maximum(np.diagonal(together), 1.0))
    together /= norms[:, None] * norms[None, :]
    np.fill_diagonal(together, 0.0)
    cut = min(NEIGHBOURS, len(together))
    least = np.partition(together, -cut, axis=1)[:, -cut]
    together[together < least[:, None]] = 0.0  # row i keeps the neighbours of movie i
    of_seen = np.ascontiguousarray(together.T)
    return lambda cases: np.stack([of_seen[case.seen].sum(axis=0) for case in cases])


def mean_stars(data: MovieLens, train: Ratings) -> Ranking:
    """By how much better a movie is rated than its raters rate; nothing of a person changes this order."""
    _, item = biases(train, len(data.users), len(data.movies))
    scores = item.astype(np.float32)
    return lambda cases: np.tile(scores, (len(cases), 1))


def _counts(train: Ratings, movies: int) -> Scores:
    return np.bincount(train.movies, minlength=movies).astype(np.float32)

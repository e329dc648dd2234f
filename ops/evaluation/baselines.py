"""Baselines that a model must beat: rankings of movies, and rating predictions as RMSE in stars."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.evaluation.holdout import Case
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
    """Rank by the number of ratings."""
    counts = _counts(train, len(data.movies))
    return lambda cases: np.tile(counts, (len(cases), 1))


def popularity_among_alike(data: MovieLens, train: Ratings) -> Ranking:
    """Rank by the number of ratings from users of the same gender and age group, then by that of all users."""
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
    """Rank by the sum of the cosines between a movie and the seen movies, over their raters."""
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
    """Rank by a movie's bias, its stars above those of its raters; the order is the same for every user."""
    _, item = biases(train, len(data.users), len(data.movies))
    scores = item.astype(np.float32)
    return lambda cases: np.tile(scores, (len(cases), 1))


def _counts(train: Ratings, movies: int) -> Scores:
    return np.bincount(train.movies, minlength=movies).astype(np.float32)


# Ridge terms and rounds of the alternating fit of the biases, as in Koren's "Collaborative filtering for the Netflix
# prize" baseline; the figures hardly move with them.
ITEM_RIDGE, USER_RIDGE = 5.0, 5.0
ROUNDS = 10


def rmse(predicted: NDArray[np.floating], stars: NDArray[np.floating]) -> float:
    """Root mean squared error, in stars, of predictions cut to 1 to 5."""
    errors = np.clip(predicted, 1.0, 5.0).astype(np.float64) - stars
    return float(np.sqrt(np.mean(errors**2)))


def baselines(train: Ratings, test: Ratings, users: int, movies: int) -> dict[str, float]:
    """RMSE on `test` of the mean, of each movie's mean, and of user and item biases, all fitted on `train`."""
    mean = float(train.stars.mean())
    residual = train.stars.astype(np.float64) - mean
    counts = np.bincount(train.movies, minlength=movies)
    item_mean = np.bincount(train.movies, residual, movies) / np.maximum(counts, 1)
    user, item = biases(train, users, movies)
    return {
        "global_mean": rmse(np.full(len(test), mean), test.stars),
        "item_mean": rmse(mean + item_mean[test.movies], test.stars),
        "biases": rmse(mean + item[test.movies] + user[test.users], test.stars),
    }


def biases(train: Ratings, users: int, movies: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Biases of each user and each movie, in stars above the mean, [users] and [movies]."""
    residual = train.stars.astype(np.float64) - float(train.stars.mean())
    user, item = np.zeros(users), np.zeros(movies)
    for _ in range(ROUNDS):
        item = _ridge_mean(train.movies, residual - user[train.users], movies, ITEM_RIDGE)
        user = _ridge_mean(train.users, residual - item[train.movies], users, USER_RIDGE)
    return user, item


def _ridge_mean(
    groups: NDArray[np.int64], values: NDArray[np.float64], size: int, ridge: float
) -> NDArray[np.float64]:
    total = np.bincount(groups, values, size)
    mean: NDArray[np.float64] = total / (np.bincount(groups, minlength=size) + ridge)
    return mean

"""What a model must beat: rating predictions without one, as RMSE in stars."""

import numpy as np
from numpy.typing import NDArray

from ops.data.ratings import Ratings

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
    """By how many stars each user and each movie is above the mean, [users] and [movies]."""
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

"""The rating protocol: RMSE of the predicted stars on the random split that rating predictors are published on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.data.lines import DataError
from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.evaluation.baselines import baselines, rmse
from ops.evaluation.holdout import Case
from ops.evaluation.recommend import AT_A_TIME, Recommender
from schemas.manifest import Figure, Protocol, Stars

RANDOM = "random"  # name of the split
TEST_SHARE = 0.1
TEST_SEED = 0
VALIDATION_SHARE = 0.02


@dataclass(frozen=True)
class Split:
    """Disjoint parts of the ratings. Weights are chosen on `validation`; `test` is looked at once, at the end."""

    train: Ratings
    validation: Ratings
    test: Ratings
    not_test: Ratings  # train and validation


def random_split(ratings: Ratings, seed: int) -> Split:
    """The 90/10 split that rating predictors are published on, and a little of the 90 for validation.

    Test is `numpy.random.seed(0); numpy.random.random() < 0.1` for each line in the file's order.

    Raises:
        DataError: there are too few ratings.
    """
    in_test = np.random.RandomState(TEST_SEED).random_sample(len(ratings)) < TEST_SHARE
    in_validation = ~in_test & (np.random.default_rng(seed).random(len(ratings)) < VALIDATION_SHARE)
    if not (in_test.any() and in_validation.any()):
        raise DataError(f"{len(ratings)} ratings are too few to hold some out: train on a thousand or more")
    return Split(
        train=ratings.take(~in_test & ~in_validation),
        validation=ratings.take(in_validation),
        test=ratings.take(in_test),
        not_test=ratings.take(~in_test),
    )


def split_of(ratings: Ratings, rows: NDArray[np.int64], seed: int) -> Split:
    """A little of these rows of the ratings for validation, the rest to train, and nothing to test."""
    in_validation = np.random.default_rng(seed).random(len(rows)) < VALIDATION_SHARE
    if not in_validation.any():
        raise DataError(f"{len(rows)} ratings are too few to hold some out: train on a thousand or more")
    return Split(
        train=ratings.take(rows[~in_validation]),
        validation=ratings.take(rows[in_validation]),
        test=ratings.take(rows[:0]),
        not_test=ratings.take(rows),
    )


RMSE = "random.rmse"


def stars_protocol(
    data: MovieLens, recommender: Recommender, stars: Stars, *, trained: str, seed: int
) -> Protocol:
    """RMSE on the random 10 %, beside the mean ratings. Profiles are whole and without a history."""
    split = random_split(data.ratings, seed)
    predicted = predicted_stars(recommender, stars, split.test, len(data.users))
    users = len(np.unique(split.test.users))
    beside = baselines(split.not_test, split.test, len(data.users), len(data.movies))
    return Protocol(
        split="random",
        origin="numpy.random.seed(0); numpy.random.random() < 0.1 for each line",
        data=data.fingerprint,
        trained=trained,
        seed=seed,
        figures={RMSE: Figure(value=rmse(predicted, split.test.stars), users=users)},
        baselines={name: {RMSE: Figure(value=value, users=users)} for name, value in beside.items()},
        differences={},
    )


def predicted_stars(
    recommender: Recommender, stars: Stars, ratings: Ratings, users: int
) -> NDArray[np.float64]:
    """Predicted stars of ratings [n], for users with whole profiles and without a history."""
    return stars.slope * _scores(recommender, ratings, users) + stars.intercept


def _scores(recommender: Recommender, ratings: Ratings, users: int) -> NDArray[np.float64]:
    """The score of each rating's movie for its user, [n]."""
    nothing = np.empty(0, np.int64)
    scores = np.empty(len(ratings), np.float64)
    for start in range(0, users, AT_A_TIME):
        some = range(start, min(start + AT_A_TIME, users))
        of_movies = recommender.scores([Case(user, nothing, nothing, nothing) for user in some])
        rows = np.flatnonzero((ratings.users >= some.start) & (ratings.users < some.stop))
        scores[rows] = of_movies[ratings.users[rows] - start, ratings.movies[rows]]
    return scores

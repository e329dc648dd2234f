"""The rating protocol: how far off the predicted stars are, on the split that rating predictors are published on."""

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.evaluation.recommend import AT_A_TIME, Recommender
from ops.training.baselines import baselines, rmse
from ops.training.holdout import Case
from ops.training.split import random_split
from schemas.manifest import Figure, Protocol, Stars

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
    """What the release says of ratings [n], for people whose profiles are whole and who bring no history."""
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

"""What is held out of training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.data.lines import DataError
from ops.data.ratings import Ratings

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

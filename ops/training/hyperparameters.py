"""Hyper-parameters of both models, and how long a training takes with them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hyperparameters:
    """Those of the fusion model; the defaults are for ml-1m."""

    epochs: int = 6
    batch: int = 4096
    learning_rate: float = 5e-3  # at its highest
    seed: int = 0
    # Share of the ratings for which a feature is hidden, so that its unknown row learns.
    user_dropout: float = 0.1
    profile_dropout: float = 0.1
    movie_dropout: float = 0.02


@dataclass(frozen=True)
class SequenceHyperparameters:
    """Those of the sequence model; the defaults are for ml-1m."""

    epochs: int = 16
    patience: int = 4  # epochs that bring nothing, before it stops
    batch: int = 2_400  # movies a step
    learning_rate: float = 2e-3  # at its highest
    seed: int = 0
    dimension: int = 64  # of the head `next`
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.2
    weight_decay: float = 0.01
    averaging: float = 0.998  # how much of the averaged weights stays after a step
    # Share for which a feature is hidden, so that its unknown row learns what to say.
    user_dropout: float = 0.5
    profile_dropout: float = 0.25
    movie_dropout: float = 0.05
    # Dimensions of the other heads.
    later: int = 32
    liked: int = 16
    kin: int = 16
    later_dropout: float = 0.3
    # Passes over the users that train the head `later` first: missing movies of a history, later sittings; users a step.
    missing_passes: int = 4
    later_passes: int = 8
    people: int = 128


# Fewer ratings than these are learnt in less time by a smaller network; it takes about a minute on two cores.
FEW_RATINGS = 400_000


def hyperparameters_for(ratings: int, **chosen: Any) -> SequenceHyperparameters:
    """The defaults for data of this size, with the chosen values."""
    small = {"dimension": 32, "epochs": 4, "batch": 2_000, "learning_rate": 5e-3}
    return SequenceHyperparameters(**((small if ratings < FEW_RATINGS else {}) | chosen))


# Ratings times dimension that one core of the machine of docs/numbers.md gets through in a second.
WORK_PER_SECOND = 1_400_000


def expected_seconds(ratings: int, hyper: SequenceHyperparameters) -> float:
    """The approximate time of all epochs on one core, in seconds."""
    return ratings * hyper.epochs * hyper.dimension / WORK_PER_SECOND

"""Fitting the fusion model: squared error of the score against 2 x rating - 5."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.training.baselines import rmse
from ops.training.fusion import SCORE_SCALE, STARS_INTERCEPT, STARS_SLOPE, Fusion
from ops.training.split import Split
from schemas.errors import MarqueeError
from schemas.profile import ProfileEvent
from worker.features import Features, Rows
from worker.paddle_engine import paddle

logger = logging.getLogger(__name__)

# Of the steps, in which the learning rate rises to its highest; then it falls to zero along a cosine.
WARM_UP_SHARE = 0.1


class TrainingError(MarqueeError):
    """The training came to nothing."""


@dataclass(frozen=True)
class Hyperparameters:
    """What can be chosen; the defaults are for ml-1m."""

    epochs: int = 6
    batch: int = 4096
    learning_rate: float = 5e-3  # at its highest
    seed: int = 0
    # Share of the ratings for which a feature is hidden, so that its unknown row learns what to say.
    user_dropout: float = 0.1
    profile_dropout: float = 0.1
    movie_dropout: float = 0.02


@dataclass(frozen=True)
class Progress:
    """Where a fit stands after a step."""

    step: int
    steps: int
    epoch: int  # from 1
    loss: float  # mean squared error of the score over the epoch so far


@dataclass(frozen=True)
class Fit:
    """What a fit reached; `network` holds the weights that did best on the validation part."""

    network: Fusion
    features: Features
    validation_rmse: list[float]  # stars, after each epoch
    test_rmse: float  # stars
    seconds: float
    interrupted: bool


class Tables:
    """The towers' inputs of every user and movie of the data, one row each, made once."""

    def __init__(self, data: MovieLens, features: Features, network: Fusion) -> None:
        user_inputs, movie_inputs = network.input_specs(features.vocabularies)
        users = data.users
        events = [
            ProfileEvent(user_id=id_, gender=gender, age=age, occupation=occupation)
            for id_, gender, age, occupation in zip(
                users.ids.tolist(),
                users.genders,
                users.ages.tolist(),
                users.occupations.tolist(),
                strict=True,
            )
        ]
        self.users = features.profiles(events, [spec.name for spec in user_inputs])
        self.movies = features.movies(data.movies, [spec.name for spec in movie_inputs])


def fit(
    data: MovieLens,
    split: Split,
    features: Features,
    hyper: Hyperparameters,
    *,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Fit:
    """Train, and keep the weights of the epoch that did best on the validation part.

    When `interrupted` turns true, it stops after the step in hand, and the best weights so far are the result.
    Deterministic by seed on one machine with one number of threads.

    Raises:
        TrainingError: the weights ran away.
    """
    paddle.seed(hyper.seed)
    network = Fusion(features.vocabularies)
    tables = Tables(data, features, network)
    steps = -(-len(split.train) // hyper.batch)
    training = _Training(network, tables, hyper, steps * hyper.epochs)
    best: dict[str, Any] = {}
    history: list[float] = []
    started = time.monotonic()
    stopped = False
    for epoch in range(hyper.epochs):
        for step, loss in enumerate(training.epoch(split.train), 1):
            report(Progress(epoch * steps + step, hyper.epochs * steps, epoch + 1, loss))
            stopped = interrupted()
            if stopped:
                break
        history.append(evaluate(network, tables, split.validation))
        if not math.isfinite(history[-1]):
            raise TrainingError(
                f"the training diverged in epoch {epoch + 1}: lower --lr ({hyper.learning_rate:g})"
            )
        if history[-1] == min(history):
            best = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        logger.debug("epoch %d: validation RMSE %.4f", epoch + 1, history[-1])
        if stopped:
            break
    network.set_state_dict(best)
    network.eval()
    return Fit(
        network=network,
        features=features,
        validation_rmse=history,
        test_rmse=evaluate(network, tables, split.test),
        seconds=time.monotonic() - started,
        interrupted=stopped,
    )


class _Training:
    """Optimizer and order of the ratings, both going on from epoch to epoch."""

    def __init__(self, network: Fusion, tables: Tables, hyper: Hyperparameters, steps: int) -> None:
        self._network, self._tables, self._hyper = network, tables, hyper
        self._random = np.random.default_rng(hyper.seed)
        self._rate = paddle.optimizer.lr.OneCycleLR(
            hyper.learning_rate, total_steps=steps, phase_pct=WARM_UP_SHARE
        )
        self._adam = paddle.optimizer.Adam(self._rate, parameters=network.parameters())

    def epoch(self, ratings: Ratings) -> Iterator[float]:
        """One pass over the ratings in random order; gives the mean loss so far after each step."""
        order = self._random.permutation(len(ratings))
        total = 0.0
        for step, start in enumerate(range(0, len(order), self._hyper.batch), 1):
            batch = ratings.take(order[start : start + self._hyper.batch])
            loss = _loss(self._network, self._tables, batch, self._hyper, self._random)
            loss.backward()
            self._adam.step()
            self._adam.clear_grad()
            self._rate.step()
            total += loss.item()
            yield total / step


def _loss(
    network: Fusion, tables: Tables, ratings: Ratings, hyper: Hyperparameters, random: np.random.Generator
) -> Any:
    """Mean squared error of the scores of one batch; each distinct movie's content is computed once."""

    def hidden(rows: Rows, share: float) -> Any:
        return paddle.to_tensor(np.where(random.random(len(rows)) < share, 0, rows))

    user = network.user(
        *(
            hidden(rows[ratings.users], hyper.user_dropout if name == "user_id" else hyper.profile_dropout)
            for name, rows in tables.users.items()
        )
    )
    distinct, places = np.unique(ratings.movies, return_inverse=True)
    content = network.movie.content(
        paddle.to_tensor(tables.movies["genres"][distinct]),
        paddle.to_tensor(tables.movies["title"][distinct]),
    )
    movie = network.movie.fused(
        hidden(tables.movies["movie_id"][ratings.movies], hyper.movie_dropout),
        paddle.gather(content, paddle.to_tensor(places)),
    )
    score = SCORE_SCALE * (user * movie).sum(axis=1)
    target = paddle.to_tensor((ratings.stars - STARS_INTERCEPT) / STARS_SLOPE)
    return ((score - target) ** 2).mean()


def evaluate(network: Fusion, tables: Tables, ratings: Ratings) -> float:
    """RMSE in stars."""
    network.eval()
    with paddle.no_grad():
        users = network.user(*map(paddle.to_tensor, tables.users.values())).numpy()
        movies = network.movie(*map(paddle.to_tensor, tables.movies.values())).numpy()
    network.train()
    cosine = np.einsum("ij,ij->i", users[ratings.users], movies[ratings.movies])
    return rmse(STARS_SLOPE * SCORE_SCALE * cosine + STARS_INTERCEPT, ratings.stars)


def use_threads(threads: int) -> None:
    """CPU threads of training; 0 takes every core that this process may use."""
    paddle.base.core.set_num_threads(threads or len(os.sched_getaffinity(0)))

"""Fitting the fusion model: squared error of the score against 2 x rating - 5."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.training.baselines import rmse
from ops.training.fusion import SCORE_SCALE, STARS_INTERCEPT, STARS_SLOPE, Fusion
from ops.training.split import Split
from schemas.profile import ProfileEvent
from worker.features import Features, Rows
from worker.paddle_engine import paddle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hyperparameters:
    """What can be chosen; the defaults are for ml-1m."""

    epochs: int = 6
    batch: int = 4096
    learning_rate: float = 5e-3
    seed: int = 0
    # Share of the ratings for which a feature is hidden, so that its unknown row learns what to say.
    user_dropout: float = 0.1
    profile_dropout: float = 0.1
    movie_dropout: float = 0.02
    weight_decay: float = 0.0


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
    """
    paddle.seed(hyper.seed)
    random = np.random.default_rng(hyper.seed)
    network = Fusion(features.vocabularies)
    tables = Tables(data, features, network)
    steps = -(-len(split.train) // hyper.batch)
    schedule = paddle.optimizer.lr.OneCycleLR(
        hyper.learning_rate, total_steps=steps * hyper.epochs, phase_pct=0.1
    )
    adam = paddle.optimizer.Adam(
        schedule, parameters=network.parameters(), weight_decay=hyper.weight_decay or None
    )
    best_state: dict[str, Any] = {}
    history: list[float] = []
    started = time.monotonic()
    stopped = False
    for epoch in range(hyper.epochs):
        loss_sum = 0.0
        for step, rows in enumerate(_batches(len(split.train), hyper.batch, random), 1):
            loss = _loss(network, tables, split.train.take(rows), hyper, random)
            loss.backward()
            adam.step()
            adam.clear_grad()
            schedule.step()
            loss_sum += loss.item()
            report(Progress(epoch * steps + step, hyper.epochs * steps, epoch + 1, loss_sum / step))
            stopped = interrupted()
            if stopped:
                break
        history.append(evaluate(network, tables, split.validation))
        if history[-1] == min(history):
            best_state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        logger.debug("epoch %d: validation RMSE %.4f", epoch + 1, history[-1])
        if stopped:
            break
    network.set_state_dict(best_state)
    network.eval()
    return Fit(
        network=network,
        features=features,
        validation_rmse=history,
        test_rmse=evaluate(network, tables, split.test),
        seconds=time.monotonic() - started,
        interrupted=stopped,
    )


def _batches(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = random.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


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

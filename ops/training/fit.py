"""Fitting the fusion model: squared error of the score against 2 x rating - 5."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.training.baselines import rmse
from ops.training.checkpoint import Checkpoints, stable_names
from ops.training.continuing import take_over
from ops.training.fusion import SCORE_SCALE, STARS_INTERCEPT, STARS_SLOPE, Fusion
from ops.training.loop import Progress, State, run
from ops.training.schedule import warmed_cosine
from ops.training.split import Split
from ops.training.tables import Tables
from worker.release.features import Features, Rows
from worker.release.paddle_engine import paddle

# Of all steps, in which the learning rate rises to its highest.
WARM_UP_SHARE = 0.1


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
class Fit:
    """What a fit reached; `network` holds the weights that did best on the validation part."""

    network: Fusion
    validation_rmse: list[float]  # stars, after each epoch
    test_rmse: float | None  # stars; None where the split holds no ratings out for it
    seconds: float
    interrupted: bool


def fit(
    data: MovieLens,
    split: Split,
    features: Features,
    hyper: Hyperparameters,
    *,
    start: State | None = None,
    checkpoints: Checkpoints | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Fit:
    """Train, and keep the weights of the epoch that did best on the validation part.

    It begins with the weights `start`, where they are given. When `interrupted` turns true, it stops after the step in hand, and the best weights so far are the result.
    Deterministic by seed on one machine with one number of threads.

    Raises:
        TrainingError: the weights ran away.
    """
    course = RatingCourse(data, split, features, hyper, start)
    outcome = run(
        course,
        hyper.epochs,
        hyper.epochs,  # six epochs are too few to stop early
        checkpoints=checkpoints,
        report=report,
        interrupted=interrupted,
    )
    network = course.network
    network.set_state_dict(outcome.weights)
    network.eval()
    return Fit(
        network=network,
        validation_rmse=outcome.measured,
        test_rmse=evaluate(network, course.tables, split.test) if len(split.test) else None,
        seconds=outcome.seconds,
        interrupted=outcome.interrupted,
    )


class RatingCourse:
    """A `Course`: the network, the ratings it learns from, and its optimizer."""

    def __init__(
        self,
        data: MovieLens,
        split: Split,
        features: Features,
        hyper: Hyperparameters,
        start: State | None = None,
    ) -> None:
        paddle.seed(hyper.seed)
        with stable_names():
            self.network = Fusion(features.vocabularies)
        if start is not None:
            take_over(self.network, start)
        self.tables = Tables(data, features, self.network)
        self._split, self._hyper = split, hyper
        self._adam = paddle.optimizer.Adam(hyper.learning_rate, parameters=self.network.parameters())

    def epoch(self, number: int) -> Iterator[tuple[float, float]]:
        hyper, ratings = self._hyper, self._split.train
        random = np.random.default_rng([hyper.seed, number])
        order = random.permutation(len(ratings))
        steps = -(-len(order) // hyper.batch)
        total = 0.0
        for step in range(1, steps + 1):
            done = (number + step / steps) / hyper.epochs
            self._adam.set_lr(hyper.learning_rate * warmed_cosine(done, WARM_UP_SHARE))
            batch = ratings.take(order[(step - 1) * hyper.batch : step * hyper.batch])
            loss = _loss(self.network, self.tables, batch, hyper, random)
            loss.backward()
            with stable_names():
                self._adam.step()
            self._adam.clear_grad()
            total += loss.item()
            yield step / steps, total / step

    def measure(self) -> float:
        """RMSE in stars."""
        return evaluate(self.network, self.tables, self._split.validation)

    def said(self, measured: float) -> str:
        return f"RMSE {measured:.4f} stars"

    def weights(self) -> State:
        return {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}

    def state(self) -> State:
        return {"network": self.weights(), "adam": self._adam.state_dict()}

    def restore(self, state: State) -> None:
        self.network.set_state_dict(state["network"])
        self._adam.set_state_dict(state["adam"])


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
    # Views of transposed tensors are copied element by element, again and again, which costs more than one real transposition.
    paddle.set_flags({"FLAGS_use_stride_kernel": False})
    paddle.base.core.set_num_threads(threads or len(os.sched_getaffinity(0)))

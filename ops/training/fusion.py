"""The fusion model: the network of Paddle's own recommender chapter, which the Milvus bootcamp serves.

It predicts ratings: score = 5 x cosine of the two towers' vectors, close to 2 x rating - 5.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.evaluation.baselines import rmse
from ops.evaluation.stars import Split
from ops.training.batches import Tables
from ops.training.continuing import take_over
from ops.training.heads import embedded
from ops.training.hyperparameters import Hyperparameters
from ops.training.loop import Checkpoints, Progress, State, run, stable_names, warmed_cosine
from schemas.manifest import Stars, TensorInput
from worker.release.features import PROFILE_SIZES, Features, Rows, Vocabularies
from worker.release.paddle_engine import paddle

DIMENSION = 200
SCORE_SCALE = 5.0
# 2 x rating - 5 = score, so rating = score / 2 + 2.5.
STARS_SLOPE, STARS_INTERCEPT = 0.5, 2.5

ID_SIZE = 32
PROFILE_SIZE = 16
WORD_WINDOW = 3
# Share of all steps in which the learning rate rises to its highest.
WARM_UP_SHARE = 0.1
# Keeps a vector of zeros from becoming NaN.
EPSILON = 1e-12

Tensor = Any


class UserTower(paddle.nn.Layer):  # type: ignore[misc]
    """User id and profile, each embedded and through its own linear layer, fused into one unit vector."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.user = _embedded_linear(len(vocabularies.users) + 1, ID_SIZE)
        for name, size in PROFILE_SIZES.items():
            setattr(self, name, _embedded_linear(size, PROFILE_SIZE))
        self.fuse = paddle.nn.Linear(ID_SIZE + len(PROFILE_SIZES) * PROFILE_SIZE, DIMENSION)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Rows [n] of user id and profile fields give float32 [n, 200] of length 1."""
        user_id, *profile = inputs
        features = [self.user(user_id), *embedded(self, profile)]
        return _unit(paddle.tanh(self.fuse(paddle.concat(features, axis=1))))


class MovieTower(paddle.nn.Layer):  # type: ignore[misc]
    """Movie id, genres and title, fused into one unit vector."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.movie = paddle.nn.Embedding(len(vocabularies.movies) + 1, ID_SIZE)
        self.genres = paddle.nn.Embedding(len(vocabularies.genres) + 1, ID_SIZE, padding_idx=0)
        self.words = paddle.nn.Embedding(len(vocabularies.words) + 1, ID_SIZE, padding_idx=0)
        # A linear layer over windows is the text convolution, and many times faster on a CPU than paddle.nn.Conv1D.
        self.convolution = paddle.nn.Linear(WORD_WINDOW * ID_SIZE, ID_SIZE)
        self.fuse = paddle.nn.Linear(3 * ID_SIZE, DIMENSION)

    def forward(self, movie_id: Tensor, genres: Tensor, title: Tensor) -> Tensor:
        """Rows movie_id [n], genres [n, g] and title [n, t] give float32 [n, 200] of length 1."""
        return self.fused(movie_id, self.content(genres, title))

    def content(self, genres: Tensor, title: Tensor) -> Tensor:
        """Content of a movie, all that an unrated one has, float32 [n, 64]: genres and title words, sum-pooled."""
        before, after = _neighbours(title)
        windows = paddle.concat([self.words(before), self.words(title), self.words(after)], axis=2)
        words = paddle.tanh(self.convolution(windows))
        in_title = (title != 0).astype("float32").unsqueeze(-1)
        return paddle.concat([self.genres(genres).sum(axis=1), (words * in_title).sum(axis=1)], axis=1)

    def fused(self, movie_id: Tensor, content: Tensor) -> Tensor:
        """Rows [n] and their content [n, 64] give float32 [n, 200] of length 1."""
        return _unit(paddle.tanh(self.fuse(paddle.concat([self.movie(movie_id), content], axis=1))))


class Fusion(paddle.nn.Layer):  # type: ignore[misc]
    """Both towers."""

    dimension = DIMENSION
    metric = "COSINE"
    score_scale = SCORE_SCALE
    stars = Stars(slope=STARS_SLOPE, intercept=STARS_INTERCEPT)

    def __init__(self, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.user = UserTower(vocabularies)
        self.movie = MovieTower(vocabularies)

    def input_specs(self, vocabularies: Vocabularies) -> tuple[list[TensorInput], list[TensorInput]]:
        """The inputs of the user tower and of the movie tower, in their order."""
        user = [_rows(name, [-1]) for name in ("user_id", *PROFILE_SIZES)]
        movie = [
            _rows("movie_id", [-1]),
            _rows("genres", [-1, vocabularies.genres_length], padding=0),
            _rows("title", [-1, vocabularies.title_length], padding=0),
        ]
        return user, movie


def _rows(name: str, shape: list[int], padding: int | None = None) -> TensorInput:
    return TensorInput(name=name, dtype="int64", shape=shape, padding=padding)


def _embedded_linear(rows: int, size: int) -> Any:
    return paddle.nn.Sequential(paddle.nn.Embedding(rows, size), paddle.nn.Linear(size, size))


def _neighbours(title: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the words before and after each of a title, [n, t] each, 0 beyond the ends."""
    edge = paddle.zeros_like(title[:, :1])
    return paddle.concat([edge, title[:, :-1]], axis=1), paddle.concat([title[:, 1:], edge], axis=1)


def _unit(vectors: Tensor) -> Tensor:
    # paddle.nn.functional.normalize raises to powers on the way, which costs more than all the rest of a tower.
    return vectors * paddle.rsqrt((vectors * vectors).sum(axis=1, keepdim=True) + EPSILON)


@dataclass(frozen=True)
class Fit:
    """The result of a fit; `network` has the weights that were best on the validation part."""

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

    It begins with the weights `start`, if given. When `interrupted` turns true, it stops after the current step, and the best
    weights so far are the result. Deterministic by seed on one machine with one number of threads.

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
        [
            hidden(rows[ratings.users], hyper.user_dropout if name == "user_id" else hyper.profile_dropout)
            for name, rows in tables.users.items()
        ]
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
        users = network.user([*map(paddle.to_tensor, tables.users.values())]).numpy()
        movies = network.movie(*map(paddle.to_tensor, tables.movies.values())).numpy()
    network.train()
    cosine = np.einsum("ij,ij->i", users[ratings.users], movies[ratings.movies])
    return rmse(STARS_SLOPE * SCORE_SCALE * cosine + STARS_INTERCEPT, ratings.stars)

"""The sequence model: four heads (`ops.training.heads`), each with a part of the vectors of its own.

A user's heads are multiplied by weights that validation chose, so that one inner product is the weighted sum of four logits.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ops.training.heads import KinTower, LaterTower, LikedTower, MovieHead, MovieKin, NextMovieTower
from ops.training.layers import Dropout
from schemas.manifest import TensorInput
from schemas.profile import PROFILE_FIELDS
from worker.release.features import Vocabularies
from worker.release.paddle_engine import paddle

# Hyper-parameters that give the weights their shapes.
SIZES = ("dimension", "later", "liked", "kin", "heads", "blocks")
# Lengths of a history from which on the heads have other weights: none, one movie, a few, more.
WEIGHTS_FROM = (0, 1, 2, 5)
# Weights of the heads next, later, liked and kin for each of these lengths, before validation has chosen.
FIRST_WEIGHTS = [[0.0, 0.0, 1.0, 0.0], *[[1.0, 0.0, 0.0, 0.0]] * 3]

Tensor = Any


class MovieTower(paddle.nn.Layer):  # type: ignore[misc]
    """The heads' parts of a movie's vector, each with its own embeddings."""

    def __init__(self, vocabularies: Vocabularies, sizes: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.next, self.later, self.liked = (MovieHead(vocabularies, size) for size in sizes[:3])
        self.kin = MovieKin(vocabularies, sizes[3])

    def forward(self, movie_id: Tensor, genres: Tensor, title: Tensor, year: Tensor) -> Tensor:
        """Rows as those of the heads give float32 [n, the sum of their sizes]."""
        heads = [head(movie_id, genres, title, year) for head in (self.next, self.later, self.liked)]
        return paddle.concat([*heads, self.kin(genres)], axis=1)


class UserTower(paddle.nn.Layer):  # type: ignore[misc]
    """The heads' parts of a user's vector, each times its weight, by the length of the history (`WEIGHTS_FROM`)."""

    def __init__(
        self, next_movie: NextMovieTower, later: LaterTower, liked: LikedTower, kin: KinTower
    ) -> None:
        super().__init__()
        self.next, self.later, self.liked, self.kin = next_movie, later, liked, kin
        # The weights of the heads, [4, 4]; files of weights know them by this name.
        self.register_buffer("shares", paddle.to_tensor(FIRST_WEIGHTS, "float32"))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Rows [n] of user id and profile fields and recent [n, l], padded with 0 at the end, give float32 [n, d]."""
        user_id, *profile, recent = inputs
        movies = (recent != 0).astype("int64").sum(axis=1)
        row = sum((movies >= start).astype("int64") for start in WEIGHTS_FROM[1:])
        following, later, liked, kin = paddle.split(paddle.gather(self.shares, row), 4, axis=1)
        heads = [
            self.next(user_id, profile, recent) * following,
            self.later(profile, recent) * later,
            self.liked(*profile) * liked,
            self.kin(recent) * kin,
        ]
        # A score is then a few units long: rounded to 6 places it is as exact as float32.
        return paddle.concat(heads, axis=1) * (1 / math.sqrt(self.next.dimension))


class SequenceModel(paddle.nn.Layer):  # type: ignore[misc]
    """Both towers. A score, the inner product of their vectors, is the weighted sum of the heads' logits over sqrt(dimension)."""

    metric = "IP"
    score_scale = 1.0
    stars = None  # it ranks movies, and predicts no ratings

    def __init__(
        self,
        vocabularies: Vocabularies,
        *,
        dimension: int = 64,
        later: int = 32,
        liked: int = 16,
        kin: int = 16,
        heads: int = 2,
        blocks: int = 2,
        dropout: float = 0.2,
        later_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.sizes = (dimension, later, liked, kin)
        self.dimension = sum(self.sizes)
        self.movie = MovieTower(vocabularies, self.sizes)
        self.user = UserTower(
            NextMovieTower(vocabularies, dimension, heads, blocks, dropout),
            LaterTower(vocabularies, later, later_dropout),
            LikedTower(liked),
            KinTower(vocabularies, kin),
        )

    def seed_dropout(self, *seed: int) -> None:
        """Begin the masks of every layer, each with its own."""
        layers = [layer for layer in self.sublayers() if isinstance(layer, Dropout)]
        for place, layer in enumerate(layers):
            layer.seed(*seed, place)

    def settle(self, movies: dict[str, np.ndarray], trained: np.ndarray) -> None:
        """Prepare to serve: movies that training never saw get the id of the unknown, and the table its final rows.

        Args:
            movies: rows of the movie tower's inputs, by name, of every movie of the vocabulary in its order.
            trained: bool [movies].
        """
        with paddle.no_grad():
            for head in (self.movie.next, self.movie.later, self.movie.liked):
                weight = head.movie.weight.numpy()
                weight[1:][~trained] = weight[0]
                head.movie.weight.set_value(weight)
            vectors = self.movie(*map(paddle.to_tensor, movies.values()))
            table = paddle.concat([paddle.zeros_like(vectors[:1]), vectors]).numpy()
            following, later, _, kin = np.split(table, np.cumsum(self.sizes)[:-1], axis=1)
            for head, rows in ((self.user.next, following), (self.user.later, later), (self.user.kin, kin)):
                head.table.set_value(rows)

    def input_specs(self, vocabularies: Vocabularies) -> tuple[list[TensorInput], list[TensorInput]]:
        """The inputs of the user tower and of the movie tower, in their order."""
        user = [_rows(name, [-1]) for name in ("user_id", *PROFILE_FIELDS)]
        user.append(_rows("recent", [-1, -1], padding=0))
        movie = [
            _rows("movie_id", [-1]),
            _rows("genres", [-1, vocabularies.genres_length], padding=0),
            _rows("title", [-1, vocabularies.title_length], padding=0),
            _rows("year", [-1]),
        ]
        return user, movie


def _rows(name: str, shape: list[int], padding: int | None = None) -> TensorInput:
    return TensorInput(name=name, dtype="int64", shape=shape, padding=padding)

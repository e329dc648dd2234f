"""The fusion model: the network of Paddle's own recommender chapter, which the Milvus bootcamp serves.

It predicts ratings: score = 5 x cosine of the two towers' vectors, close to 2 x rating - 5.
"""

from typing import Any

from schemas.manifest import Stars, TensorInput
from worker.release.features import AGES_SIZE, GENDERS_SIZE, OCCUPATIONS_SIZE, Vocabularies
from worker.release.paddle_engine import paddle

DIMENSION = 200
SCORE_SCALE = 5.0
# 2 x rating - 5 = score, so rating = score / 2 + 2.5.
STARS_SLOPE, STARS_INTERCEPT = 0.5, 2.5

ID_SIZE = 32
PROFILE_SIZE = 16
WORD_WINDOW = 3
# Keeps a vector of zeros from becoming NaN.
EPSILON = 1e-12

Tensor = Any


class UserTower(paddle.nn.Layer):  # type: ignore[misc]
    """User id and profile, each embedded and through its own linear layer, fused into one unit vector."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.user = _embedded_linear(len(vocabularies.users) + 1, ID_SIZE)
        self.gender = _embedded_linear(GENDERS_SIZE, PROFILE_SIZE)
        self.age = _embedded_linear(AGES_SIZE, PROFILE_SIZE)
        self.occupation = _embedded_linear(OCCUPATIONS_SIZE, PROFILE_SIZE)
        self.fuse = paddle.nn.Linear(ID_SIZE + 3 * PROFILE_SIZE, DIMENSION)

    def forward(self, user_id: Tensor, gender: Tensor, age: Tensor, occupation: Tensor) -> Tensor:
        """Rows [n] of each input give float32 [n, 200] of length 1."""
        features = [self.user(user_id), self.gender(gender), self.age(age), self.occupation(occupation)]
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
        """What is known of a movie nobody rated, float32 [n, 64]: genres and title words, sum-pooled."""
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
        """What the towers take, in the order of their `forward`: the user's, the movie's."""
        user = [_rows(name, [-1]) for name in ("user_id", "gender", "age", "occupation")]
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

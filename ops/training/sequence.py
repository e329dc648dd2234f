"""The sequence model: four questions about a person, each with a part of the vectors of its own.

`next`: which movie comes next. A causal transformer over the history with the profile in front, in the manner of SASRec (Kang and
McAuley, 2018), with a full softmax over the catalogue (Klenitskiy and Vasilev, "Turning dross into gold loss", 2023).
`later`: which movies come some time. An autoencoder of the history as a set, in the manner of Liang et al. ("Variational
autoencoders for collaborative filtering", 2018), with the profile.
`liked`: what people of such a profile like, a regression.
`kin`: what is of the genres of the history's movies, for who has told little else.

The vectors that a history is read as are those that are searched. A user's parts are multiplied by shares that validation chose,
so that one inner product is the weighted sum of the four logits.
"""

import math
from typing import Any

import numpy as np

from ops.training.layers import Dropout, Linear
from schemas.manifest import TensorInput
from schemas.profile import MAX_RECENT
from worker.release.features import AGES_SIZE, GENDERS_SIZE, OCCUPATIONS_SIZE, YEARS_SIZE, Vocabularies
from worker.release.paddle_engine import paddle

# Small, because a person's id must not outweigh what the history says, and a release should stay a few MB.
USER_SIZE = 16
CONTENT_SIZE = 32
LATER_HIDDEN = 128
# Hyper-parameters that give the weights their shapes.
SIZES = ("dimension", "later", "liked", "kin", "heads", "blocks")
INITIAL_DEVIATION = 0.02
# Movies of a history from which on it has shares of its own: none, one, a few, more.
SHARES_FROM = (0, 1, 2, 5)
# Of next, later, liked and kin, for each of these, where validation says nothing.
FIRST_SHARES = [[0.0, 0.0, 1.0, 0.0], *[[1.0, 0.0, 0.0, 0.0]] * 3]
# Added where attention must not look. Not infinite: a row of nothing but that would be NaN.
FORBIDDEN = -1e9
# Bias rows: one for each distance between two movies, 0 to MAX_RECENT, and one for the profile, however far away.
PROFILE_DISTANCE = MAX_RECENT + 1

Tensor = Any


class MoviePart(paddle.nn.Layer):  # type: ignore[misc]
    """A movie's id and what is known of it beside, added up: without the first there is still the second."""

    def __init__(self, vocabularies: Vocabularies, dimension: int) -> None:
        super().__init__()
        self.movie = _embedding(len(vocabularies.movies) + 1, dimension)
        size = min(CONTENT_SIZE, dimension)
        self.genres = _embedding(len(vocabularies.genres) + 1, size, padding=0)
        self.words = _embedding(len(vocabularies.words) + 1, size, padding=0)
        self.years = _embedding(YEARS_SIZE, size)
        self.content = Linear(3 * size, dimension)

    def forward(self, movie_id: Tensor, genres: Tensor, title: Tensor, year: Tensor) -> Tensor:
        """Rows movie_id [n], genres [n, g], title [n, t], year [n] give float32 [n, dimension]."""
        known = [self.genres(genres).sum(axis=1), self.words(title).sum(axis=1), self.years(year)]
        return self.movie(movie_id) + self.content(paddle.concat(known, axis=1))


class MovieKin(paddle.nn.Layer):  # type: ignore[misc]
    """What a movie's genres say, added up, in units of `ops.training.kin`."""

    def __init__(self, vocabularies: Vocabularies, dimension: int) -> None:
        super().__init__()
        self.genres = _embedding(len(vocabularies.genres) + 1, dimension, padding=0)
        self.middle = self.create_parameter([dimension], is_bias=True)

    def forward(self, genres: Tensor) -> Tensor:
        """Rows [n, g] give float32 [n, d]."""
        return self.genres(genres).sum(axis=1) + self.middle


class MovieTower(paddle.nn.Layer):  # type: ignore[misc]
    """The parts of a movie's vector, each with its own embeddings."""

    def __init__(self, vocabularies: Vocabularies, sizes: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.next, self.later, self.liked = (MoviePart(vocabularies, size) for size in sizes[:3])
        self.kin = MovieKin(vocabularies, sizes[3])

    def forward(self, movie_id: Tensor, genres: Tensor, title: Tensor, year: Tensor) -> Tensor:
        """Rows as those of the parts give float32 [n, the sum of their sizes]."""
        parts = [part(movie_id, genres, title, year) for part in (self.next, self.later, self.liked)]
        return paddle.concat([*parts, self.kin(genres)], axis=1)


class Block(paddle.nn.Layer):  # type: ignore[misc]
    """Attention and a feed-forward layer, each on normalized input and added to it (pre-norm)."""

    def __init__(self, dimension: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.size = dimension // heads
        self.norm = paddle.nn.LayerNorm(dimension)
        self.query = Linear(dimension, dimension)
        self.key_value = Linear(dimension, 2 * dimension)
        self.out = Linear(dimension, dimension)
        self.distance = _embedding(PROFILE_DISTANCE + 1, heads)
        self.feed_norm = paddle.nn.LayerNorm(dimension)
        self.up = Linear(dimension, 4 * dimension)
        self.down = Linear(4 * dimension, dimension)
        self.dropout = Dropout(dropout)

    def forward(self, asking: Tensor, at: Tensor, tokens: Tensor, positions: Tensor) -> Tensor:
        """What `asking` [n, q, d], standing at positions `at` [n or 1, q], becomes by looking at the tokens before it.

        `tokens` is [n, t, d] at `positions` [1, t], where 0 is the profile. Gives [n, q, d].
        """
        query = self._split(self.query(self.norm(asking)))
        key, value = paddle.split(self.key_value(self.norm(tokens)), 2, axis=-1)
        scores = paddle.matmul(query * (1 / math.sqrt(self.size)), self._split(key), transpose_y=True)
        weights = paddle.nn.functional.softmax(scores + self._bias(at, positions), axis=-1)
        seen = paddle.matmul(self.dropout(weights), self._split(value)).transpose([0, 2, 1, 3])
        asking = asking + self.dropout(self.out(seen.flatten(2)))
        fed = self.down(paddle.nn.functional.gelu(self.up(self.feed_norm(asking))))
        return asking + self.dropout(fed)

    def _split(self, vectors: Tensor) -> Tensor:
        """[n, t, d] as [n, heads, t, d / heads]."""
        return vectors.reshape([0, -1, self.heads, self.size]).transpose([0, 2, 1, 3])

    def _bias(self, at: Tensor, positions: Tensor) -> Tensor:
        """[n, heads, q, t], or [heads, q, t] for all: how much a distance counts, and that nobody looks ahead."""
        distance = at.unsqueeze(2) - positions.unsqueeze(1)
        to_profile = (positions == 0).astype("int64").unsqueeze(1)
        rows = paddle.clip(distance, 0, MAX_RECENT) * (1 - to_profile) + PROFILE_DISTANCE * to_profile
        ahead = (distance < 0).astype("float32").unsqueeze(1) * FORBIDDEN
        bias = self.distance(rows).transpose([0, 3, 1, 2]) + ahead
        # In training, `at` is the same for all; added to all alike, a tensor without that axis of 1 is several times faster.
        return bias.squeeze(0) if self.training else bias


class NextMovieTower(paddle.nn.Layer):  # type: ignore[misc]
    """The profile as the first token, the history after it; the last position gives the vector.

    `table` holds the movies' vectors, of row 0 (no movie) on; while training it is set anew at every step.
    """

    def __init__(
        self, vocabularies: Vocabularies, dimension: int, heads: int, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        self.dimension = dimension
        self.user = _embedding(len(vocabularies.users) + 1, USER_SIZE)
        self.user_fused = Linear(USER_SIZE, dimension)
        self.gender = _embedding(GENDERS_SIZE, dimension)
        self.age = _embedding(AGES_SIZE, dimension)
        self.occupation = _embedding(OCCUPATIONS_SIZE, dimension)
        self.blocks = paddle.nn.LayerList([Block(dimension, heads, dropout) for _ in range(blocks)])
        self.norm = paddle.nn.LayerNorm(dimension)
        self.dropout = Dropout(dropout)
        self.register_buffer("table", paddle.zeros([len(vocabularies.movies) + 1, dimension]))

    def forward(
        self, user_id: Tensor, gender: Tensor, age: Tensor, occupation: Tensor, recent: Tensor
    ) -> Tensor:
        """Rows [n] of the profile and recent [n, l], oldest first and padded with 0 at the end, give float32 [n, d]."""
        profile = self.profile(user_id, gender, age, occupation)
        tokens, positions = self.tokens(profile, paddle.nn.functional.embedding(recent, self.table), recent)
        for block in self.blocks[:-1]:
            tokens = block(tokens, positions, tokens, positions)
        # Nothing is asked of the last block but the position of the last movie.
        last = (recent != 0).astype("int64").sum(axis=1, keepdim=True)
        here = (positions == last).astype("float32").unsqueeze(2)
        asking = (tokens * here).sum(axis=1, keepdim=True)
        vectors = self.norm(self.blocks[-1](asking, last, tokens, positions))
        return vectors.squeeze(1)

    def profile(self, user_id: Tensor, gender: Tensor, age: Tensor, occupation: Tensor) -> Tensor:
        """The first token, [n, 1, d]."""
        parts = [self.user_fused(self.user(user_id)), self.gender(gender), self.age(age)]
        return (parts[0] + parts[1] + parts[2] + self.occupation(occupation)).unsqueeze(1)

    def tokens(self, profile: Tensor, watched: Tensor, recent: Tensor) -> tuple[Tensor, Tensor]:
        """Profile [n, 1, d] and movies [n, l, d] as one sequence [n, 1 + l, d], and its positions [1, 1 + l]."""
        tokens = paddle.concat([profile, watched * math.sqrt(self.dimension)], axis=1)
        places = paddle.cumsum(paddle.ones_like(recent[:1]), axis=1)
        return self.dropout(tokens), paddle.concat([paddle.zeros_like(places[:, :1]), places], axis=1)

    def all_positions(self, profile: Tensor, watched: Tensor, recent: Tensor) -> Tensor:
        """What each position makes of all up to it, [n, 1 + l, d]."""
        tokens, positions = self.tokens(profile, watched, recent)
        for block in self.blocks:
            tokens = block(tokens, positions, tokens, positions)
        return self.norm(tokens)


class Taste(paddle.nn.Layer):  # type: ignore[misc]
    """What a profile says, added up; who a person is, by id, is not asked: it would say what the history says."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.gender = _embedding(GENDERS_SIZE, dimension)
        self.age = _embedding(AGES_SIZE, dimension)
        self.alike = _embedding(GENDERS_SIZE * AGES_SIZE, dimension)
        self.occupation = _embedding(OCCUPATIONS_SIZE, dimension)

    def forward(self, gender: Tensor, age: Tensor, occupation: Tensor) -> Tensor:
        """Rows [n] give float32 [n, d]."""
        known = self.gender(gender) + self.age(age) + self.occupation(occupation)
        return known + self.alike(gender * AGES_SIZE + age)


class LikedTower(paddle.nn.Layer):  # type: ignore[misc]
    """What a profile says, added up, in units of a regression (`ops.training.liked`)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.gender = _embedding(GENDERS_SIZE, dimension)
        self.age = _embedding(AGES_SIZE, dimension)
        self.occupation = _embedding(OCCUPATIONS_SIZE, dimension)
        self.everybody = self.create_parameter([dimension])

    def forward(self, gender: Tensor, age: Tensor, occupation: Tensor) -> Tensor:
        """Rows [n] give float32 [n, d]."""
        return self.gender(gender) + self.age(age) + self.occupation(occupation) + self.everybody


class LaterTower(paddle.nn.Layer):  # type: ignore[misc]
    """The sum of the history's movies, over the root of their number, and the profile, through one hidden layer.

    `table` is as that of `NextMovieTower`.
    """

    def __init__(self, vocabularies: Vocabularies, dimension: int, dropout: float) -> None:
        super().__init__()
        self.dimension = dimension
        self.taste = Taste(dimension)
        self.norm = paddle.nn.LayerNorm(dimension)
        self.out_norm = paddle.nn.LayerNorm(dimension)
        self.up = Linear(dimension, LATER_HIDDEN)
        self.down = Linear(LATER_HIDDEN, dimension)
        self.dropout = Dropout(dropout)
        self.register_buffer("table", paddle.zeros([len(vocabularies.movies) + 1, dimension]))

    def forward(self, gender: Tensor, age: Tensor, occupation: Tensor, recent: Tensor) -> Tensor:
        """Rows [n] of the profile and recent [n, l], padded with 0 at the end, give float32 [n, d]."""
        watched = paddle.nn.functional.embedding(recent, self.table).sum(axis=1)
        count = (recent != 0).astype("float32").sum(axis=1, keepdim=True)
        return self.of_sum([gender, age, occupation], watched, count)

    def of_sum(self, profile: list[Tensor], watched: Tensor, count: Tensor) -> Tensor:
        """The same of a history's movies added up, [n, d], and their number, [n, 1]."""
        seen = watched * (math.sqrt(self.dimension) / paddle.sqrt(paddle.clip(count, min=1.0)))
        person = self.dropout(seen) + self.taste(*profile)
        hidden = paddle.nn.functional.gelu(self.up(self.norm(person)))
        return self.out_norm(person + self.down(self.dropout(hidden)))


class KinTower(paddle.nn.Layer):  # type: ignore[misc]
    """The mean of the history's movies; `table` is as that of `NextMovieTower`."""

    def __init__(self, vocabularies: Vocabularies, dimension: int) -> None:
        super().__init__()
        self.register_buffer("table", paddle.zeros([len(vocabularies.movies) + 1, dimension]))

    def forward(self, recent: Tensor) -> Tensor:
        """Rows recent [n, l], padded with 0 at the end, give float32 [n, d]."""
        watched = paddle.nn.functional.embedding(recent, self.table).sum(axis=1)
        count = (recent != 0).astype("float32").sum(axis=1, keepdim=True)
        return watched / paddle.clip(count, min=1.0)


class UserTower(paddle.nn.Layer):  # type: ignore[misc]
    """The parts of a user's vector, each times its share: `shares` [4, 4], by the length of the history (`SHARES_FROM`)."""

    def __init__(
        self, next_movie: NextMovieTower, later: LaterTower, liked: LikedTower, kin: KinTower
    ) -> None:
        super().__init__()
        self.next, self.later, self.liked, self.kin = next_movie, later, liked, kin
        self.register_buffer("shares", paddle.to_tensor(FIRST_SHARES, "float32"))

    def forward(
        self, user_id: Tensor, gender: Tensor, age: Tensor, occupation: Tensor, recent: Tensor
    ) -> Tensor:
        """Rows [n] of the profile and recent [n, l], oldest first and padded with 0 at the end, give float32 [n, d]."""
        movies = (recent != 0).astype("int64").sum(axis=1)
        row = sum((movies >= start).astype("int64") for start in SHARES_FROM[1:])
        shares = paddle.gather(self.shares, row)
        following, later, liked, kin = paddle.split(shares, 4, axis=1)
        parts = [
            self.next(user_id, gender, age, occupation, recent) * following,
            self.later(gender, age, occupation, recent) * later,
            self.liked(gender, age, occupation) * liked,
            self.kin(recent) * kin,
        ]
        # As long as a score of some units: rounded to 6 places it is as exact as float32.
        return paddle.concat(parts, axis=1) * (1 / math.sqrt(self.next.dimension))


class SequenceModel(paddle.nn.Layer):  # type: ignore[misc]
    """Both towers. A score, the inner product of their vectors, is the logits of the four parts by their shares, over sqrt(dimension)."""

    metric = "IP"
    score_scale = 1.0
    stars = None  # it tells what is watched next, and not how it is liked

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
        """Make it serve: movies that training never saw get the id of the unknown, and the table its final rows.

        Args:
            movies: rows of the movie tower's inputs, by name, of every movie of the vocabulary in its order.
            trained: bool [movies].
        """
        with paddle.no_grad():
            for part in (self.movie.next, self.movie.later, self.movie.liked):
                weight = part.movie.weight.numpy()
                weight[1:][~trained] = weight[0]
                part.movie.weight.set_value(weight)
            vectors = self.movie(*map(paddle.to_tensor, movies.values()))
            table = paddle.concat([paddle.zeros_like(vectors[:1]), vectors]).numpy()
            following, later, _, kin = np.split(table, np.cumsum(self.sizes)[:-1], axis=1)
            for part, rows in ((self.user.next, following), (self.user.later, later), (self.user.kin, kin)):
                part.table.set_value(rows)

    def input_specs(self, vocabularies: Vocabularies) -> tuple[list[TensorInput], list[TensorInput]]:
        """What the towers take, in the order of their `forward`: the user's, the movie's."""
        user = [_rows(name, [-1]) for name in ("user_id", "gender", "age", "occupation")]
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


def _embedding(rows: int, size: int, padding: int | None = None) -> Any:
    initial = paddle.nn.initializer.Normal(0.0, INITIAL_DEVIATION)
    return paddle.nn.Embedding(
        rows, size, padding_idx=padding, weight_attr=paddle.ParamAttr(initializer=initial)
    )

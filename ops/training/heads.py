"""The heads of the sequence model: for each, the part of a movie's vector (`Movie…`) and of a user's (`…Tower`).

`next`: which movie comes next. A causal transformer over the history with the profile in front, in the manner of SASRec (Kang and
McAuley, 2018), with a full softmax over the catalogue (Klenitskiy and Vasilev, "Turning dross into gold loss", 2023).
`later`: which movies come some time. An autoencoder of the history as a set, in the manner of Liang et al. ("Variational
autoencoders for collaborative filtering", 2018), with the profile.
`liked`: which movies users of such a profile like, a regression.
`kin`: which movies share the genres of the history's movies, for short histories.

A history is read as the same vectors that are searched.
"""

import math
from collections.abc import Sequence
from typing import Any

from ops.training.layers import Dropout, Linear
from schemas.profile import MAX_RECENT
from worker.release.features import PROFILE_SIZES, YEARS_SIZE, Vocabularies
from worker.release.paddle_engine import paddle

# Small, because a user's id must not outweigh the history, and a release should stay a few MB.
USER_SIZE = 16
CONTENT_SIZE = 32
LATER_HIDDEN = 128
INITIAL_DEVIATION = 0.02
# Added where attention must not look. Not infinite: a row of nothing but that would be NaN.
FORBIDDEN = -1e9
# Bias rows: one for each distance between two movies, 0 to MAX_RECENT, and one for the profile at any distance.
PROFILE_DISTANCE = MAX_RECENT + 1

Tensor = Any


class MovieHead(paddle.nn.Layer):  # type: ignore[misc]
    """The sum of a movie's id and its content; a movie with an unknown id still has its content."""

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
    """The sum of a movie's genres, in units of `ops.training.closed_form`."""

    def __init__(self, vocabularies: Vocabularies, dimension: int) -> None:
        super().__init__()
        self.genres = _embedding(len(vocabularies.genres) + 1, dimension, padding=0)
        self.middle = self.create_parameter([dimension], is_bias=True)

    def forward(self, genres: Tensor) -> Tensor:
        """Rows [n, g] give float32 [n, d]."""
        return self.genres(genres).sum(axis=1) + self.middle


def embed_profile(layer: Any, dimension: int) -> None:
    """Give a layer an embedding of each profile field, by the field's name."""
    for name, size in PROFILE_SIZES.items():
        setattr(layer, name, _embedding(size, dimension))


def embedded(layer: Any, profile: Sequence[Tensor]) -> list[Tensor]:
    """These embeddings at the rows [n] of each field. (Paddle's translation of a `zip` refuses its `strict`.)"""
    return [getattr(layer, name)(profile[place]) for place, name in enumerate(PROFILE_SIZES)]


def profile_sum(layer: Any, profile: Sequence[Tensor]) -> Tensor:
    """The sum of these embeddings, [n, d]."""
    first, *others = embedded(layer, profile)
    return sum(others, first)


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

    `table` holds the movies' vectors, from row 0 (no movie) on; training makes it again at every step.
    """

    def __init__(
        self, vocabularies: Vocabularies, dimension: int, heads: int, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        self.dimension = dimension
        self.user = _embedding(len(vocabularies.users) + 1, USER_SIZE)
        self.user_fused = Linear(USER_SIZE, dimension)
        embed_profile(self, dimension)
        self.blocks = paddle.nn.LayerList([Block(dimension, heads, dropout) for _ in range(blocks)])
        self.norm = paddle.nn.LayerNorm(dimension)
        self.dropout = Dropout(dropout)
        self.register_buffer("table", paddle.zeros([len(vocabularies.movies) + 1, dimension]))

    def forward(self, user_id: Tensor, profile: Sequence[Tensor], recent: Tensor) -> Tensor:
        """Rows [n] of the profile and recent [n, l], oldest first and padded with 0 at the end, give float32 [n, d]."""
        first = self.first_token(user_id, profile)
        tokens, positions = self.tokens(first, paddle.nn.functional.embedding(recent, self.table), recent)
        for block in self.blocks[:-1]:
            tokens = block(tokens, positions, tokens, positions)
        # Only the position of the last movie asks the last block.
        last = (recent != 0).astype("int64").sum(axis=1, keepdim=True)
        here = (positions == last).astype("float32").unsqueeze(2)
        asking = (tokens * here).sum(axis=1, keepdim=True)
        vectors = self.norm(self.blocks[-1](asking, last, tokens, positions))
        return vectors.squeeze(1)

    def first_token(self, user_id: Tensor, profile: Sequence[Tensor]) -> Tensor:
        """The token of the user and the profile, [n, 1, d]."""
        token = self.user_fused(self.user(user_id))
        for vectors in embedded(self, profile):
            token = token + vectors
        return token.unsqueeze(1)

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
    """The sum of a profile's embeddings. Without the user's id, which would say the same as the history."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        first, second, *others = PROFILE_SIZES
        for name in (first, second):
            setattr(self, name, _embedding(PROFILE_SIZES[name], dimension))
        self.alike = _embedding(PROFILE_SIZES[first] * PROFILE_SIZES[second], dimension)
        for name in others:
            setattr(self, name, _embedding(PROFILE_SIZES[name], dimension))

    def forward(self, *profile: Tensor) -> Tensor:
        """Rows [n] of each profile field give float32 [n, d]."""
        pairs = profile[0] * list(PROFILE_SIZES.values())[1] + profile[1]
        return profile_sum(self, profile) + self.alike(pairs)


class LikedTower(paddle.nn.Layer):  # type: ignore[misc]
    """The sum of a profile's embeddings, in units of a regression (`ops.training.closed_form`)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        embed_profile(self, dimension)
        self.everybody = self.create_parameter([dimension])

    def forward(self, *profile: Tensor) -> Tensor:
        """Rows [n] of each profile field give float32 [n, d]."""
        return profile_sum(self, profile) + self.everybody


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

    def forward(self, profile: Sequence[Tensor], recent: Tensor) -> Tensor:
        """Rows [n] of the profile and recent [n, l], padded with 0 at the end, give float32 [n, d]."""
        watched = paddle.nn.functional.embedding(recent, self.table).sum(axis=1)
        count = (recent != 0).astype("float32").sum(axis=1, keepdim=True)
        return self.of_sum(profile, watched, count)

    def of_sum(self, profile: Sequence[Tensor], watched: Tensor, count: Tensor) -> Tensor:
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


def _embedding(rows: int, size: int, padding: int | None = None) -> Any:
    initial = paddle.nn.initializer.Normal(0.0, INITIAL_DEVIATION)
    return paddle.nn.Embedding(
        rows, size, padding_idx=padding, weight_attr=paddle.ParamAttr(initializer=initial)
    )

"""Trains the head `later` of the sequence model: sets of movies, predicted from other sets and the profile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.training.closed_form import PROFILE
from ops.training.sequence import SequenceModel
from schemas.profile import MAX_RECENT
from worker.release.paddle_engine import paddle

Rows = NDArray[np.int64]
Tensor = Any

# People a step of whom `later` is given the profile alone, and the most of a history that the others give.
NOTHING_KNOWN = 0.2
MOST_KNOWN = 0.9
# From this many seconds between two ratings on, the second belongs to another sitting.
SITTINGS_APART = 86_400
# Added to the logits of known movies. Not infinite: it is multiplied by 0 elsewhere.
FORBIDDEN = -1e4


@dataclass(frozen=True)
class Hiding:
    """People a step, at most, and the shares of profile features and of movies' ids that are hidden from it."""

    people: int
    features: float
    movies: float


class Tastes:
    """The losses of the head: cross-entropy of all wanted movies of some users, among unseen ones.

    Args:
        network: network of the head.
        movies: rows of the movie tower's inputs, by name, of the trained movies.
        users: rows of the user tower's inputs, by name.
        rated: rated movies by user, in their order; movies are counted from 0.
        sittings: places in `rated` where another sitting begins, by user with more than one.
    """

    def __init__(
        self,
        network: SequenceModel,
        movies: dict[str, Rows],
        users: dict[str, Rows],
        rated: dict[int, Rows],
        sittings: dict[int, Rows],
    ) -> None:
        self._network, self._movies, self._users = network, movies, users
        self.rated, self.sittings = rated, sittings
        self._count = len(movies["movie_id"])

    def missing(self, hiding: Hiding, random: np.random.Generator) -> Tensor:
        """Loss of the rest of some histories, given a random part of each and the profile."""
        people = _some(self.rated, hiding.people, random)
        return self._later(people, [self._torn(user, random) for user in people.tolist()], hiding, random)

    def later(self, hiding: Hiding, random: np.random.Generator) -> Tensor:
        """Loss of later sittings, given the movies before one of them; users with one sitting are left out."""
        people = _some(self.sittings, hiding.people, random)
        parts = []
        for user in people.tolist():
            begin = int(random.choice(self.sittings[user]))
            parts.append((self.rated[user][:begin], self.rated[user][begin:]))
        return self._later(people, parts, hiding, random)

    def _torn(self, user: int, random: np.random.Generator) -> tuple[Rows, Rows]:
        history = random.permutation(self.rated[user])
        given = 0 if random.random() < NOTHING_KNOWN else int(random.uniform(0.0, MOST_KNOWN) * len(history))
        return history[:given], history[given:]

    def _later(
        self, people: Rows, parts: list[tuple[Rows, Rows]], hiding: Hiding, random: np.random.Generator
    ) -> Tensor:
        read = self._sets([known[-MAX_RECENT:] for known, _ in parts])
        table = self._network.movie.later(*self._inputs(hiding, random))
        watched = paddle.matmul(paddle.to_tensor(read), table)
        count = paddle.to_tensor(read.sum(axis=1, keepdims=True))
        states = self._network.user.later.of_sum(self._profile(people, hiding, random), watched, count)
        known, wanted = (self._sets(list(sets)) for sets in zip(*parts, strict=True))
        return _loss(states, table, known, wanted)

    def _sets(self, sets: list[Rows]) -> NDArray[np.float32]:
        """Sets as rows of 0 and 1."""
        rows = np.zeros((len(sets), self._count), np.float32)
        for row, movies in zip(rows, sets, strict=True):
            row[movies] = 1.0
        return rows

    def _inputs(self, hiding: Hiding, random: np.random.Generator) -> list[Tensor]:
        ids = np.where(random.random(self._count) < hiding.movies, 0, self._movies["movie_id"])
        return [paddle.to_tensor(rows) for rows in (self._movies | {"movie_id": ids}).values()]

    def _profile(self, people: Rows, hiding: Hiding, random: np.random.Generator) -> list[Tensor]:
        hidden = [random.random(len(people)) < hiding.features for _ in PROFILE]
        return [
            paddle.to_tensor(np.where(there, 0, self._users[name][people]))
            for name, there in zip(PROFILE, hidden, strict=True)
        ]


def sittings_of(timestamps: Rows) -> Rows:
    """Places where another sitting begins, of one person's ratings in their order; timestamps are in seconds."""
    return np.flatnonzero(np.diff(timestamps) >= SITTINGS_APART) + 1


def _some(among: dict[int, Rows], people: int, random: np.random.Generator) -> Rows:
    drawn: Rows = random.choice(list(among), min(people, len(among)), replace=False)
    return drawn


def _loss(
    states: Tensor,
    table: Tensor,
    known: NDArray[np.float32],
    wanted: NDArray[np.float32],
) -> Tensor:
    """Mean cross-entropy of what each wants among all that they do not know; everybody counts alike, as in the mean of a metric."""
    logits = paddle.matmul(states, table, transpose_y=True) + paddle.to_tensor(known * FORBIDDEN)
    shares = wanted / wanted.sum(axis=1, keepdims=True)
    told = (logits * paddle.to_tensor(shares)).sum(axis=1)
    # Not shifted by their largest, as is usual: see `softmax_loss`.
    of_all = paddle.log(paddle.exp(logits).sum(axis=1))
    return (of_all - told).mean()

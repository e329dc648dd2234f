"""Input of a training: the towers' input rows of every user and movie, and windows of histories as batches."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from schemas.manifest import TensorInput
from schemas.profile import MAX_RECENT
from worker.release.features import RECENT, Features, Vocabularies

Rows = NDArray[np.int64]


class Towers(Protocol):
    """A network with the inputs of its towers."""

    def input_specs(self, vocabularies: Vocabularies) -> tuple[list[TensorInput], list[TensorInput]]: ...


class Tables:
    """Rows by input name: `users` without histories, `movies`."""

    def __init__(self, data: MovieLens, features: Features, network: Towers) -> None:
        user_inputs, movie_inputs = network.input_specs(features.vocabularies)
        names = [spec.name for spec in user_inputs if spec.name != RECENT]
        self.users = features.profiles(data.users.profiles(), names)
        self.movies = features.movies(data.movies, [spec.name for spec in movie_inputs])

    def profiles(self, users: list[int], named: list[bool]) -> dict[str, Rows]:
        """Rows of these users, without the id of unnamed ones."""
        rows = {name: table[users] for name, table in self.users.items()}
        return rows | {"user_id": np.where(named, rows["user_id"], 0)}


# Movies of one window: as many as an event carries, and the one that comes next.
WINDOW = MAX_RECENT + 1
# Movies of a short window, likewise: how little most events carry, and it may be from anywhere in a history.
SHORT_WINDOW = 10 + 1
# Windows among which those of like length are put together; a whole epoch sorted would make every epoch the same.
SORTED_TOGETHER = 1_024


def epoch_windows(histories: list[Rows], random: np.random.Generator) -> list[tuple[int, Rows]]:
    """(User, window) of each history that has a movie, in random order, and then a short one of each that has two.

    A window of a long history ends with its last movie half of the time, as in serving, and else at a random moment. Short windows
    teach the model a few movies from anywhere in a history: in long ones, the first movies are often the history's first.
    """
    users = [user for user in random.permutation(len(histories)).tolist() if len(histories[user])]
    windows = [(user, _window(histories[user], random)) for user in users]
    return windows + [(user, _short(histories[user], random)) for user in users if len(histories[user]) > 1]


def _window(history: Rows, random: np.random.Generator) -> Rows:
    if len(history) > WINDOW and random.random() < 0.5:
        history = history[: int(random.integers(WINDOW, len(history)))]
    return history[-WINDOW:]


def _short(history: Rows, random: np.random.Generator) -> Rows:
    start = int(random.integers(len(history) - 1))
    return history[start : start + SHORT_WINDOW]


def batches(
    windows: list[tuple[int, Rows]], movies: int, random: np.random.Generator
) -> list[list[tuple[int, Rows]]]:
    """Batches of about `movies` movies each, of windows of like length, in random order."""
    made = [
        batch
        for start in range(0, len(windows), SORTED_TOGETHER)
        for batch in _filled(sorted(windows[start : start + SORTED_TOGETHER], key=_length), movies)
    ]
    return [made[place] for place in random.permutation(len(made)).tolist()]


def _filled(windows: list[tuple[int, Rows]], movies: int) -> Iterator[list[tuple[int, Rows]]]:
    batch: list[tuple[int, Rows]] = []
    count = 0
    for window in windows:
        if batch and count + len(window[1]) > movies:
            yield batch
            batch, count = [], 0
        batch.append(window)
        count += len(window[1])
    yield batch


def _length(window: tuple[int, Rows]) -> int:
    return len(window[1])


def padded(batch: list[tuple[int, Rows]]) -> Rows:
    """The windows as [n, longest], padded with 0 at the end."""
    rows = np.zeros((len(batch), max(len(window) for _, window in batch)), np.int64)
    for row, (_, window) in zip(rows, batch, strict=True):
        row[: len(window)] = window
    return rows

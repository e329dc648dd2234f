"""Parts of histories as training batches: windows of an event's length, alike ones together."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from schemas.profile import MAX_RECENT

# Movies of one window: as many as an event carries, and the one that comes next.
WINDOW = MAX_RECENT + 1
# Windows that begin in the middle of a history, so that a short one is nothing special, wherever it is from.
CROPPED = 0.2
# Windows among which those of like length are put together; a whole epoch sorted would make every epoch the same.
SORTED_TOGETHER = 1_024

Rows = NDArray[np.int64]


def epoch_windows(histories: list[Rows], random: np.random.Generator) -> list[tuple[int, Rows]]:
    """(User, window) of each history that has a movie, in random order.

    Of a long history half of the time the last movies, as in serving, and else those before a random moment.
    """
    windows = []
    for user in random.permutation(len(histories)).tolist():
        history = histories[user]
        if len(history):
            windows.append((user, _window(history, random)))
    return windows


def _window(history: Rows, random: np.random.Generator) -> Rows:
    if len(history) > WINDOW and random.random() < 0.5:
        end = int(random.integers(WINDOW, len(history)))
        history = history[:end]
    window = history[-WINDOW:]
    return window[int(random.integers(len(window))) :] if random.random() < CROPPED else window


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

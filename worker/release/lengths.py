"""Histories of unlike lengths through one tower: alike ones together, so that a short one does not pay for a long one."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

RECENT = "recent"
# A history is padded to the next of these; attention costs by the square of the length.
LENGTHS = (1, 4, 8, 16, 32, 64, 128, 200)
# Movies, padding among them, of one run of a tower: what attention keeps of them stays below 20 MB.
RUN_MOVIES = 8_192


def embed_by_length(
    embed: Callable[[Mapping[str, Rows]], Vectors], inputs: Mapping[str, Rows], dimension: int
) -> Vectors:
    """Vectors, float32 [n, dimension], of inputs of n rows whose `recent` [n, l] is padded with 0 at the end."""
    vectors = np.empty((len(inputs[RECENT]), dimension), np.float32)
    for places, length in _groups(np.count_nonzero(inputs[RECENT], axis=1)):
        part = {name: rows[places] for name, rows in inputs.items()}
        vectors[places] = embed(part | {RECENT: _cut(part[RECENT], length)})
    return vectors


def _groups(lengths: Rows) -> Iterator[tuple[Rows, int]]:
    """Places of the rows that go into one run, and the length they are padded to."""
    padded = np.searchsorted(LENGTHS, lengths)
    for group in np.unique(padded).tolist():
        places, length = np.flatnonzero(padded == group), LENGTHS[group]
        at_a_time = max(1, RUN_MOVIES // length)
        for start in range(0, len(places), at_a_time):
            yield places[start : start + at_a_time], length


def _cut(recent: Rows, length: int) -> Rows:
    """`recent` with `length` columns."""
    missing = length - recent.shape[1]
    return np.pad(recent, ((0, 0), (0, missing))) if missing > 0 else np.ascontiguousarray(recent[:, :length])

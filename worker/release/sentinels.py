"""Rows whose vectors are known, one beside each batch: a batch that gets the vectors of another is found by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.errors import ForeignVectorsError

Rows = NDArray[np.int64] | NDArray[np.float32]
Inputs = Mapping[str, Rows]
Vectors = NDArray[np.float32]

# Relative to the longest of the known vectors. Batches of other sizes and paddings differ by 1e-5, on a GPU that
# rounds products to TF32 by 1e-3; vectors of unlike rows by tenths.
_WITHIN = 1e-2
# Two sentinels that are not this far apart could stand for each other, and only one of them is kept.
_APART = 1e-1


@dataclass(frozen=True)
class Sentinel:
    """One row of every input, and the vector that the tower gives for it."""

    row: Inputs
    vector: Vectors
    within_squared: float

    def beside(self, inputs: Inputs) -> dict[str, Rows]:
        """The inputs with this row after their last."""
        row = self.row
        return {name: _with(rows, row[name]) for name, rows in inputs.items()}

    def check(self, vectors: Vectors, rows: int) -> None:
        """Look at what the tower gave for `rows` rows, this one the last.

        Raises:
            ForeignVectorsError: they are not the vectors of these rows.
        """
        apart = vectors[-1] - self.vector
        if len(vectors) != rows or not apart.dot(apart) <= self.within_squared:
            raise ForeignVectorsError("a tower gave vectors that are not those of its batch")


class Sentinels:
    """Takes turns, so that two calls at once carry different ones; any number of threads may share it."""

    def __init__(self, rows: Inputs, vectors: Vectors) -> None:
        """`rows` are some of every input, `vectors` [rows, dimension] what the tower gives for them, alone in it."""
        lengths = np.linalg.norm(vectors, axis=1)
        scale = float(lengths.max(initial=0.0, where=np.isfinite(lengths)))
        kept = _unlike(vectors, _APART * scale)
        self._all = [
            Sentinel(
                {name: of[place : place + 1] for name, of in rows.items()},
                vectors[place],
                (_WITHIN * scale) ** 2,
            )
            for place in kept
        ]
        self._turn = count()

    def next(self) -> Sentinel | None:
        """The next in turn; None of a tower that gives everything the same vector."""
        return self._all[next(self._turn) % len(self._all)] if len(self._all) > 1 else None


def _unlike(vectors: Vectors, apart: float) -> list[int]:
    """Places of finite vectors, each further than `apart` from all others."""
    kept: list[int] = []
    for place, vector in enumerate(vectors):
        if np.isfinite(vector).all() and all(np.linalg.norm(vector - vectors[k]) > apart for k in kept):
            kept.append(place)
    return kept


def _with(rows: NDArray[Any], row: NDArray[Any]) -> NDArray[Any]:
    """Rows and one more, padded with 0 to their width."""
    if rows.ndim > 1:
        row = np.pad(row, ((0, 0), (0, rows.shape[1] - row.shape[1])))
    return np.concatenate((rows, row))

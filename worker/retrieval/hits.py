"""What a search of Milvus finds, as columns: ids and scores of each vector, best first."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Column = TypeVar("Column", np.int64, np.float32)


def columns(
    lengths: Sequence[int], ids: Sequence[int], scores: Sequence[float], n: int
) -> tuple[Ids, Scores]:
    """The flat columns of an answer as [n, m] arrays."""
    flat_ids, flat_scores = np.array(ids, dtype=np.int64), np.array(scores, dtype=np.float32)
    m = max(lengths, default=0)
    if len(flat_ids) == n * m:
        return flat_ids.reshape(n, m), flat_scores.reshape(n, m)
    filled = np.arange(m) < np.array(lengths)[:, None]
    padded_ids = np.full((n, m), -1, dtype=np.int64)
    padded_scores = np.full((n, m), -np.inf, dtype=np.float32)
    padded_ids[filled], padded_scores[filled] = flat_ids, flat_scores
    return padded_ids, padded_scores


def stacked(answers: Sequence[tuple[Ids, Scores]]) -> tuple[Ids, Scores]:
    """The answers of several searches, one below the other, as wide as the widest, filled up as those are."""
    m = max(ids.shape[1] for ids, _ in answers)
    return (
        np.concatenate([_widened(ids, m, -1) for ids, _ in answers]),
        np.concatenate([_widened(scores, m, -np.inf) for _, scores in answers]),
    )


def _widened(columns: npt.NDArray[Column], m: int, fill: float) -> npt.NDArray[Column]:
    return np.pad(columns, ((0, 0), (0, m - columns.shape[1])), constant_values=fill)

"""Vectors of movies that need not be embedded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class KnownVectors:
    """Vectors as they are searched, float32 [movies, dimension], of one movie or more; the ids [movies] ascend."""

    movie_ids: Ids
    vectors: Vectors

    def of(self, movie_ids: Ids) -> tuple[NDArray[np.bool_], Vectors]:
        """Which of n movies are known, bool [n], and the vectors of those, float32 [known, dimension]."""
        rows = np.searchsorted(self.movie_ids, movie_ids).clip(max=len(self.movie_ids) - 1)
        known = self.movie_ids[rows] == movie_ids
        return known, self.vectors[rows[known]]

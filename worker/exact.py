"""Exact search over a release's own vectors: one matrix product and a top-k."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

# Rows of queries scored at a time: keeps the product of 100,000 movies below 100 MB.
_BLOCK = 256


@dataclass(frozen=True)
class ExactIndex:
    """The movies' vectors, row by row of the catalogue; those of a cosine release have length 1."""

    movie_ids: Ids
    vectors: Vectors

    def search(self, queries: Vectors, limit: int) -> tuple[Ids, Vectors]:
        """The `limit` movies of the largest inner product, best first: ids and products, each [queries, limit].

        Where there are fewer movies than `limit`, there are as many columns as movies.
        """
        limit = min(limit, len(self.movie_ids))
        ids = np.empty((len(queries), limit), dtype=np.int64)
        scores = np.empty((len(queries), limit), dtype=np.float32)
        for start in range(0, len(queries), _BLOCK):
            block = slice(start, start + _BLOCK)
            products = queries[block] @ self.vectors.T
            best = (
                np.argpartition(products, -limit, axis=1)[:, -limit:] if limit < products.shape[1] else None
            )
            if best is None:
                best = np.broadcast_to(np.arange(products.shape[1]), products.shape)
            of_best = np.take_along_axis(products, best, axis=1)
            order = np.argsort(-of_best, axis=1, kind="stable")
            ids[block] = self.movie_ids[np.take_along_axis(best, order, axis=1)]
            scores[block] = np.take_along_axis(of_best, order, axis=1)
        return ids, scores

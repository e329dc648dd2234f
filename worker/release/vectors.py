"""The vectors of a catalogue as a file: written batch by batch, read block by block, never whole in memory."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from schemas.manifest import Manifest
from worker.retrieval.exact import ExactIndex

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

# Of vectors searched at a time: 65,536 of 200 numbers are 52 MB, and their products with 64 queries 17 MB.
_BLOCK_ROWS = 65_536


def unit_length(vectors: Vectors, manifest: Manifest) -> Vectors:
    """Scale vectors [n, dimension] to length 1 for a cosine release, so that the inner product ranks for every metric."""
    if manifest.metric == "IP":
        return vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


class VectorsFile:
    """A .npy file, float32 [rows, dimension], in the making."""

    def __init__(self, path: Path, rows: int, dimension: int) -> None:
        self.path = path
        self.rows = rows
        self.dimension = dimension
        self.written = 0
        self._file = path.open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, vectors: Vectors) -> None:
        """The next rows, float32 [n, dimension]."""
        self._file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        self.written += len(vectors)


class StoredIndex:
    """Exact search over a file of vectors, a block at a time; what `ExactIndex` is in memory."""

    def __init__(self, movie_ids: Ids, path: Path) -> None:
        self.movie_ids = movie_ids
        self._path = path

    @property
    def vectors(self) -> Vectors:
        """All of them, read as they are touched."""
        mapped: Vectors = np.load(self._path, mmap_mode="r")
        return mapped

    def search(self, queries: Vectors, limit: int) -> tuple[Ids, Vectors]:
        """The `limit` movies of the largest inner product, best first: ids and products, each [queries, limit]."""
        ids: Ids = np.empty((len(queries), 0), np.int64)
        products: Vectors = np.empty((len(queries), 0), np.float32)
        for start, block in self._blocks():
            found = ExactIndex(self.movie_ids[start : start + len(block)], block).search(queries, limit)
            ids = np.concatenate([ids, found[0]], axis=1)
            products = np.concatenate([products, found[1]], axis=1)
            best = np.argsort(-products, axis=1, kind="stable")[:, :limit]
            ids = np.take_along_axis(ids, best, axis=1)
            products = np.take_along_axis(products, best, axis=1)
        return ids, products

    def _blocks(self) -> Iterator[tuple[int, Vectors]]:
        with self._path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            assert version == (1, 0)
            (rows, dimension), _, _ = np.lib.format.read_array_header_1_0(file)
            for start in range(0, rows, _BLOCK_ROWS):
                count = min(_BLOCK_ROWS, rows - start)
                yield start, np.fromfile(file, "<f4", count * dimension).reshape(count, dimension)

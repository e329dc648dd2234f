"""The vectors of a catalogue as a file: written batch by batch, read block by block, never whole in memory."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from schemas.manifest import Manifest

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]


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

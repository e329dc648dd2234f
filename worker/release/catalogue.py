"""The catalogue of a release: every movie it can recommend, one row each, in the order of the vectors."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_YEAR = re.compile(r"\((\d{4})\)\s*$")


def title_year(title: str) -> int:
    """The year a title ends with, as in `Toy Story (1995)`; 0 where it ends otherwise."""
    found = _YEAR.search(title)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class Catalogue:
    """n movies, sorted by id."""

    movie_ids: NDArray[np.int64]  # [n]
    titles: list[str]
    genres: list[list[str]]
    years: NDArray[np.int32]  # [n], 0 unknown

    def __len__(self) -> int:
        return len(self.titles)

    @cached_property
    def _positions(self) -> dict[int, int]:
        return {movie_id: row for row, movie_id in enumerate(self.movie_ids.tolist())}

    def position(self, movie_id: int) -> int | None:
        """Row of a movie, or None if it is not in the catalogue."""
        return self._positions.get(movie_id)

    def rows(self, start: int, stop: int) -> "Catalogue":
        """The rows from `start` up to `stop`."""
        part = slice(start, stop)
        return Catalogue(self.movie_ids[part], self.titles[part], self.genres[part], self.years[part])

    def take(self, chosen: NDArray[np.bool_]) -> "Catalogue":
        """The rows where the mask [n] is true."""
        rows = np.flatnonzero(chosen).tolist()
        return Catalogue(
            self.movie_ids[chosen],
            [self.titles[row] for row in rows],
            [self.genres[row] for row in rows],
            self.years[chosen],
        )

    @classmethod
    def of(cls, movies: dict[int, tuple[str, list[str]]]) -> "Catalogue":
        """From {movie id: (title, genres)}; the year is the title's."""
        ids = sorted(movies)
        titles = [movies[id_][0] for id_ in ids]
        return cls(
            np.array(ids, np.int64),
            titles,
            [movies[id_][1] for id_ in ids],
            np.array([title_year(title) for title in titles], np.int32),
        )

    @staticmethod
    def batches(path: Path, size: int) -> "Iterator[Catalogue]":
        """The rows of catalogue.parquet, up to `size` at a time, and no more of them in memory."""
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(size):
                yield Catalogue(
                    batch["movie_id"].to_numpy(),
                    batch["title"].to_pylist(),
                    batch["genres"].to_pylist(),
                    batch["year"].to_numpy(),
                )

    @staticmethod
    def read_ids(path: Path) -> NDArray[np.int64]:
        """The movies of catalogue.parquet alone, int64 [n]."""
        import pyarrow.parquet as parquet

        ids: NDArray[np.int64] = parquet.read_table(path, columns=["movie_id"])["movie_id"].to_numpy()
        return ids

    @classmethod
    def read(cls, path: Path) -> "Catalogue":
        """Read catalogue.parquet."""
        import pyarrow.parquet as parquet

        table = parquet.read_table(path)
        return cls(
            table["movie_id"].to_numpy(),
            table["title"].to_pylist(),
            table["genres"].to_pylist(),
            table["year"].to_numpy(),
        )

    def write(self, path: Path) -> None:
        """Write catalogue.parquet."""
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        table = arrow.table(
            {
                "movie_id": arrow.array(self.movie_ids, arrow.int64()),
                "title": arrow.array(self.titles, arrow.string()),
                "genres": arrow.array(self.genres, arrow.list_(arrow.string())),
                "year": arrow.array(self.years, arrow.int32()),
            }
        )
        parquet.write_table(table, path)

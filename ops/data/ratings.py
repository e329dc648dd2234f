"""ratings.dat: a million lines, read by Arrow; line by line only to name the one that is wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.data.lines import each_line, fields, integer
from schemas.profile import MAX_ID

RATINGS_FILE = "ratings.dat"

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Ratings:
    """n ratings in the file's order; users and movies as rows of theirs."""

    users: NDArray[np.int64]
    movies: NDArray[np.int64]
    stars: NDArray[np.float32]  # 1 to 5
    timestamps: NDArray[np.int64]  # seconds since 1970, UTC

    def __len__(self) -> int:
        return len(self.stars)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Ratings":
        """The ratings of these rows, or those where the mask is true."""
        return Ratings(self.users[rows], self.movies[rows], self.stars[rows], self.timestamps[rows])


def parse_ratings(path: Path, content: bytes, user_ids: Ids, movie_ids: Ids) -> Ratings:
    """Ratings of known users and movies, both given as sorted ids.

    Raises:
        DataError: a line is malformed; the message has its number and the reason.
    """
    columns = _columns(content)
    if columns is None or not _valid(columns, user_ids, movie_ids):
        columns = _columns_by_line(path, content, user_ids, movie_ids)
    users, movies, stars, timestamps = columns
    return Ratings(
        np.searchsorted(user_ids, users),
        np.searchsorted(movie_ids, movies),
        stars.astype(np.float32),
        timestamps,
    )


def _columns(content: bytes) -> list[Ids] | None:
    """The four columns of a well-formed file, or None. Between two colons Arrow sees an empty column."""
    import pyarrow as arrow
    from pyarrow import csv

    names = ["user", "_1", "movie", "_2", "rating", "_3", "timestamp"]
    try:
        table = csv.read_csv(
            arrow.BufferReader(content),
            csv.ReadOptions(column_names=names, use_threads=False),
            csv.ParseOptions(delimiter=":", quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types={name: arrow.null() if name[0] == "_" else arrow.int64() for name in names},
                null_values=[""],
            ),
        )
    except arrow.ArrowInvalid:
        return None
    columns = [table[name] for name in names if name[0] != "_"]
    if any(column.null_count for column in columns):
        return None
    return [column.to_numpy() for column in columns]


def _valid(columns: list[Ids], user_ids: Ids, movie_ids: Ids) -> bool:
    users, movies, stars, timestamps = columns
    return bool(
        _known(users, user_ids)
        and _known(movies, movie_ids)
        and stars.min() >= 1
        and stars.max() <= 5
        and timestamps.min() >= 0
    )


def _known(ids: Ids, among: Ids) -> bool:
    places = np.searchsorted(among, ids)
    return bool((places < len(among)).all() and (among[places] == ids).all())


def _columns_by_line(path: Path, content: bytes, user_ids: Ids, movie_ids: Ids) -> list[Ids]:
    users, movies = set(user_ids.tolist()), set(movie_ids.tolist())
    rows: list[tuple[int, int, int, int]] = []

    def parse(line: str) -> None:
        user_text, movie_text, rating, timestamp = fields(line, "UserID::MovieID::Rating::Timestamp")
        user, movie = integer("UserID", user_text, 1, MAX_ID), integer("MovieID", movie_text, 1, MAX_ID)
        if user not in users:
            raise ValueError(f"user {user} is not in users.dat")
        if movie not in movies:
            raise ValueError(f"movie {movie} is not among the movies")
        rows.append(
            (user, movie, integer("Rating", rating, 1, 5), integer("Timestamp", timestamp, 0, MAX_ID))
        )

    each_line(path, content, parse)
    return list(np.array(rows, np.int64).T)

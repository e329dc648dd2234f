"""ml-1m's three files, `::` between fields: users.dat, movies.dat (or the bootcamp's movies_origin.txt), ratings.dat."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ops.data.lines import DataError, each_line, fields, integer, read
from ops.data.ratings import RATINGS_FILE, Ratings, parse_ratings
from schemas.profile import AGE_GROUPS, GENDERS, MAX_ID, OCCUPATIONS, Gender, ProfileEvent
from worker.release.catalogue import Catalogue

USERS_FILE = "users.dat"
MOVIES_FILE = "movies.dat"
# The same format, as the bootcamp's recommender demo ships it.
BOOTCAMP_MOVIES_FILE = "movies_origin.txt"

NO_GENRES = "(no genres listed)"  # as later MovieLens sets write it


@dataclass(frozen=True)
class Users:
    """n users, sorted by id; the codes are ml-1m's."""

    ids: NDArray[np.int64]
    genders: list[Gender]
    ages: NDArray[np.int64]  # lower bound of the group, years
    occupations: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def profiles(self) -> list[ProfileEvent]:
        """An event of each user's profile, in their order."""
        columns = (self.ids.tolist(), self.genders, self.ages.tolist(), self.occupations.tolist())
        return [
            ProfileEvent(user_id=id_, gender=gender, age=age, occupation=occupation)
            for id_, gender, age, occupation in zip(*columns, strict=True)
        ]


@dataclass(frozen=True)
class MovieLens:
    """The three files."""

    users: Users
    movies: Catalogue
    ratings: Ratings
    fingerprint: str  # sha256 over the three files


def load(folder: Path) -> MovieLens:
    """Read and check the three files of a folder.

    Raises:
        DataError: a file is missing or malformed; the message has file, line and reason.
    """
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}: make one with `marquee data generate {folder}`, or get ml-1m with "
            f"`marquee data fetch {folder}`"
        )
    paths = (folder / USERS_FILE, _movies_path(folder), folder / RATINGS_FILE)
    for path in paths:
        if not path.exists():
            raise DataError(
                f"{path} is missing: the folder must hold {USERS_FILE}, {MOVIES_FILE} and {RATINGS_FILE}"
            )
    contents = [read(path) for path in paths]
    users = _parse_users(paths[0], contents[0])
    movies = parse_movies(paths[1], contents[1])
    ratings = parse_ratings(paths[2], contents[2], users.ids, movies.movie_ids)
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return MovieLens(users, movies, ratings, digest.hexdigest())


def _movies_path(folder: Path) -> Path:
    bootcamp = folder / BOOTCAMP_MOVIES_FILE
    usual = folder / MOVIES_FILE
    return bootcamp if bootcamp.is_file() and not usual.is_file() else usual


def _parse_users(path: Path, content: bytes) -> Users:
    rows: dict[int, tuple[Gender, int, int]] = {}

    def parse(line: str) -> None:
        id_text, gender, age_text, occupation, _ = fields(line, "UserID::Gender::Age::Occupation::Zip-code")
        id_ = integer("UserID", id_text, 1, MAX_ID)
        if id_ in rows:
            raise ValueError(f"user {id_} was there before")
        if gender not in GENDERS:
            raise ValueError(f"Gender must be one of {', '.join(GENDERS)}, got {gender!r}")
        age = integer("Age", age_text, AGE_GROUPS[0], AGE_GROUPS[-1])
        if age not in AGE_GROUPS:
            raise ValueError(f"Age must be one of {', '.join(map(str, AGE_GROUPS))}, got {age}")
        rows[id_] = cast(Gender, gender), age, integer("Occupation", occupation, 0, len(OCCUPATIONS) - 1)

    each_line(path, content, parse)
    ids = sorted(rows)
    genders, ages, occupations = zip(*(rows[id_] for id_ in ids), strict=True)
    return Users(
        np.array(ids, np.int64), list(genders), np.array(ages, np.int64), np.array(occupations, np.int64)
    )


def parse_movies(path: Path, content: bytes) -> Catalogue:
    """movies.dat: `MovieID::Title::Genres` a line.

    Raises:
        DataError: a line is malformed; the message has its number and the reason.
    """
    rows: dict[int, tuple[str, list[str]]] = {}

    def parse(line: str) -> None:
        id_text, first, rest = line.partition("::")
        title, last, genres_text = rest.rpartition("::")  # a title may hold the separator, the others can't
        if not first or not last:
            raise ValueError("fewer fields than MovieID::Title::Genres")
        id_ = integer("MovieID", id_text, 1, MAX_ID)
        if id_ in rows:
            raise ValueError(f"movie {id_} was there before")
        if not title.strip():
            raise ValueError("Title is empty")
        genres = [] if genres_text == NO_GENRES else genres_text.split("|")
        if not all(genres):
            raise ValueError(f"Genres must be names with | between, got {genres_text!r}")
        rows[id_] = title, genres

    each_line(path, content, parse)
    return Catalogue.of(rows)


__all__ = ["DataError", "MovieLens", "Ratings", "Users", "load"]

"""Sources of profile events: a file (JSON lines, or ml-1m's users.dat), or the users of training data."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ops.data.movielens import MovieLens
from schemas.errors import MarqueeError
from schemas.profile import GENDERS, OCCUPATIONS, ProfileEvent
from worker.events import Rejection, decode

USERS_FILE = "users.dat"
_USER = re.compile(rb"(\d{1,18})::([FM])::(\d{1,3})::(\d{1,2})(::.*)?")

LIKED_STARS = 4  # the lowest rating of a liked movie
# A history with an obvious taste, by ml-1m's titles.
FAMILY_ANIMATIONS = ("Toy Story (1995)", "Bug's Life, A (1998)", "Aladdin (1992)")
ANIMATION = "Animation"
RECENT = 10  # largest number of movies in an event, as an application keeps them for a visit or two


class BadLineError(MarqueeError):
    """A line is no profile event. Neither it nor any line after it was published."""


@dataclass(frozen=True)
class EventLine:
    """An event with its file and line; `size` is the length of the line in bytes."""

    event: bytes | ProfileEvent
    place: str
    size: int


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or standard input for `-`.

    Raises:
        MarqueeError: it cannot be read.
    """
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise MarqueeError(f"cannot read {path}: {error.strerror}; give a file of events, or -") from None
    with file:
        yield file


def event_lines(file: BinaryIO, name: str, *, validate: bool = True) -> Iterator[EventLine]:
    """Read the events of a file, in order. Without `validate`, JSON lines are not checked.

    Raises:
        BadLineError: a line is no profile event, with `name`, line number and reason.
    """
    first = file.readline()
    users = Path(name).name == USERS_FILE or _USER.fullmatch(first.rstrip(b"\r\n")) is not None
    read: Callable[[bytes, str], bytes | ProfileEvent] = _user if users else _checked if validate else _as_is
    for number, line in enumerate(chain([first] if first else [], file), start=1):
        content, place = line.rstrip(b"\r\n"), f"{name}:{number}"
        if content.strip() or read is _as_is:
            yield EventLine(read(content, place), place, len(line))


def _as_is(line: bytes, _place: str) -> bytes:
    return line


def _checked(line: bytes, place: str) -> bytes:
    """Check a line as the worker does; the bytes are published unchanged."""
    event = decode(line)
    if isinstance(event, Rejection):
        raise BadLineError(
            f"{place} is no profile event: {event.error}; correct the line, or publish it unchanged with --no-validate"
        )
    return line


def _user(line: bytes, place: str) -> ProfileEvent:
    fields = _USER.fullmatch(line)
    if fields is None or int(fields[1]) == 0 or int(fields[4]) >= len(OCCUPATIONS) or int(fields[3]) > 120:
        raise BadLineError(
            f"{place} is no user of ml-1m: expected UserID::Gender::Age::Occupation::Zip-code, gender "
            f"{' or '.join(GENDERS)}, occupation 0 to {len(OCCUPATIONS) - 1}"
        )
    return ProfileEvent(
        user_id=int(fields[1]),
        gender="F" if fields[2] == b"F" else "M",
        age=int(fields[3]),
        occupation=int(fields[4]),
    )


def profile_events(data: MovieLens, count: int, seed: int = 0) -> Iterator[ProfileEvent]:
    """Generate events of the users in random order, repeatedly, with the movies that each liked up to a random moment."""
    random = np.random.default_rng(seed)
    liked = _liked(data)
    users = data.users
    for number in range(count):
        if number % len(users) == 0:
            order = random.permutation(len(users)).tolist()
        row = order[number % len(users)]
        history = liked[row]
        moment = int(random.integers(len(history) + 1))
        yield ProfileEvent(
            user_id=int(users.ids[row]),
            gender=users.genders[row],
            age=int(users.ages[row]),
            occupation=int(users.occupations[row]),
            recent=history[max(0, moment - RECENT) : moment],
        )


def _liked(data: MovieLens) -> list[list[int]]:
    """List the ids of the movies that each user liked, oldest first."""
    ratings = data.ratings
    rows = np.flatnonzero(ratings.stars >= LIKED_STARS)
    rows = rows[np.lexsort((rows, ratings.timestamps[rows], ratings.users[rows]))]
    movies = data.movies.movie_ids[ratings.movies[rows]]
    ends = np.searchsorted(ratings.users[rows], np.arange(len(data.users)), side="right")
    return [part.tolist() for part in np.split(movies, ends[:-1])]


def animation_watcher(data: MovieLens) -> list[int]:
    """Return the ids of three family animations, or in other data than ml-1m of the most watched animations."""
    titles = {
        title: id_ for id_, title in zip(data.movies.movie_ids.tolist(), data.movies.titles, strict=True)
    }
    if all(title in titles for title in FAMILY_ANIMATIONS):
        return [titles[title] for title in FAMILY_ANIMATIONS]
    watched = np.bincount(data.ratings.movies, minlength=len(data.movies))
    animated = [row for row, genres in enumerate(data.movies.genres) if ANIMATION in genres]
    rows = sorted(animated, key=lambda row: -int(watched[row]))[: len(FAMILY_ANIMATIONS)]
    return [int(id_) for id_ in data.movies.movie_ids[rows]]

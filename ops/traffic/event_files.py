"""Profile events from a file: JSON lines, or ml-1m's users.dat."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from schemas.errors import MarqueeError
from schemas.profile import GENDERS, OCCUPATIONS, ProfileEvent
from worker.events import Rejection, decode

USERS_FILE = "users.dat"
_USER = re.compile(rb"(\d{1,18})::([FM])::(\d{1,3})::(\d{1,2})(::.*)?")


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

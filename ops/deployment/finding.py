"""What a check finds."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One part of the installation; `mend` says what to do about it.

    A note is something to know of that keeps nothing from working as it is set.
    """

    part: str
    state: State
    detail: str
    mend: str | None = None


def ok(part: str, detail: str) -> Finding:
    """It is well."""
    return Finding(part, "ok", detail)


def note(part: str, detail: str, mend: str) -> Finding:
    """Nothing is wrong as it is set; for more, do `mend`."""
    return Finding(part, "note", detail, mend)


def wrong(part: str, detail: str, mend: str | None = None) -> Finding:
    """It keeps Marquee from its work; without `mend`, the detail says it."""
    return Finding(part, "wrong", detail, mend)

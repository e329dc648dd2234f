"""A finding of `marquee doctor`."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """The state of a part of the installation, and the remedy for a fault. A note is no fault."""

    part: str
    state: State
    detail: str
    mend: str | None = None


def ok(part: str, detail: str) -> Finding:
    """Make a finding without a fault."""
    return Finding(part, "ok", detail)


def note(part: str, detail: str, mend: str) -> Finding:
    """Make a note: the installation works as set, and `mend` improves it."""
    return Finding(part, "note", detail, mend)


def wrong(part: str, detail: str, mend: str | None = None) -> Finding:
    """Make a fault; without `mend`, the detail contains the remedy."""
    return Finding(part, "wrong", detail, mend)

"""Waiting: a deadline that several steps share, and pauses that grow from one attempt to the next."""

import time
from collections.abc import Iterator


class Deadline:
    """Passes so many seconds after it was made."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._at

    @property
    def left(self) -> float:
        """Seconds that are left, 0.0 once it passed."""
        return max(0.0, self._at - time.monotonic())

    def within(self, seconds: float, at_least: float = 0.0) -> float:
        """The timeout of one step: `seconds`, or less where less is left."""
        return max(at_least, min(seconds, self.left))


def back_off(first: float, longest: float) -> Iterator[float]:
    """Seconds of one pause after another: each is twice as long as the last, up to `longest`."""
    seconds = first
    while True:
        yield seconds
        seconds = min(2 * seconds, longest)

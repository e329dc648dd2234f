"""The last results and dead letters, for the page. There are people's profiles in them: see `worker.monitoring.page.Access`."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import orjson

from schemas import dead_letter
from worker.events import Answer, source_of

KEPT = 8  # of each
# More of a dead letter's bytes nobody reads on a page.
_SHOWN_BYTES = 300


class Latest:
    """Takes what is committed. The publishing thread writes, the port's threads read."""

    def __init__(self, *, kept: int = KEPT) -> None:
        """`kept` is 0 where nobody may see them."""
        # Not the answers themselves: an event that is kept has up to a mebibyte and more.
        self._results: deque[tuple[float, bytes]] = deque(maxlen=kept)
        self._dead_letters: deque[dict[str, Any]] = deque(maxlen=kept)

    def committed(self, answers: Sequence[Answer]) -> None:
        """Keep the last of these, which are final."""
        if not self._results.maxlen:
            return
        now = time.time()
        dead = [answer for answer in answers if answer.reason is not None]
        self._dead_letters.extend(_shown(now, answer) for answer in dead[-KEPT:])
        if len(dead) < len(answers):
            alive = [answer for answer in answers[-KEPT - len(dead) :] if answer.reason is None]
            self._results.extend((now, answer.record.value or b"{}") for answer in alive[-KEPT:])

    def recommendations(self) -> list[dict[str, Any]]:
        """Newest first: when it was committed, and the recommendation."""
        kept = reversed(list(self._results))
        return [{"at": at, **orjson.loads(result)} for at, result in kept]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Newest first: when it was committed, why, and how its bytes begin."""
        return list(self._dead_letters)[::-1]


def _shown(at: float, answer: Answer) -> dict[str, Any]:
    headers = dict(answer.record.headers)
    error = headers.get(dead_letter.ERROR) or b""
    value = answer.event.value()
    return {
        "at": at,
        "source": source_of(answer.event),
        "reason": answer.reason,
        "error": error if isinstance(error, str) else error.decode(errors="replace"),
        "value": None if value is None else value[:_SHOWN_BYTES].decode(errors="replace"),
        "bytes": None if value is None else len(value),
    }

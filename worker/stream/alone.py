"""One event that cannot be published together with others: its answer, or what is left of it; and the wait for a topic."""

import logging
import math
import time
from collections.abc import Callable

from schemas.dead_letter import Reason
from worker.errors import RefusedError
from worker.events import Answer, source_of

log = logging.getLogger(__name__)

# Between two attempts with a record that no topic takes before a person has changed the topic.
RETRY_SECONDS = 3.0
# Failures without a commit in between that last so long are a standstill; one that is older than the second is over.
_LASTING_SECONDS = 5.0
_RECENT_SECONDS = 10.0


class Standstill:
    """Why nothing is committed, as soon as that lasts. One thread writes; any reads."""

    def __init__(self) -> None:
        self._refused: str | None = None
        self._undone = ""
        self._since, self._last = math.inf, -math.inf

    def refused(self, why: str | None) -> bool:
        """A record waits for a person to change its topic, or (None) does not any more; whether that is news."""
        new, self._refused = why != self._refused, why
        return new

    def undone(self, why: str) -> None:
        now = time.monotonic()
        self._since = min(self._since, now) if now - self._last < _RECENT_SECONDS else now
        self._undone, self._last = why, now

    def over(self) -> None:
        """Something was committed."""
        self._since = math.inf

    @property
    def problem(self) -> str | None:
        """A sentence for /health/ready; None where all is well."""
        if self._refused:
            return self._refused
        recent = time.monotonic() - self._last < _RECENT_SECONDS
        return self._undone if recent and self._last - self._since >= _LASTING_SECONDS else None


class Alone:
    """Publishes one answer by itself, in the publishing thread."""

    def __init__(self, last_resort: Callable[[Answer, str], Answer], standstill: Standstill) -> None:
        self._last_resort = last_resort
        self._standstill = standstill

    def publish(
        self,
        answer: Answer,
        refusal: RefusedError,
        *,
        attempt: Callable[[Answer], None],
        wait: Callable[[float], bool],
    ) -> None:
        """Publish its dead letter, else that without its value, else all three in turn until a topic takes one.

        `attempt` publishes, and raises RefusedError; `wait` tells whether the event is ours still after so many seconds.
        """
        tried = answer
        while True:
            if tried.reason is not Reason.PROCESSING_FAILED or tried.record.value is not None:
                tried = self._last_resort(tried, str(refusal))
            else:
                self._say(tried, refusal)
                if not wait(RETRY_SECONDS):
                    break
                tried = answer
            try:
                attempt(tried)
                break
            except RefusedError as another:
                refusal = another
        self._standstill.refused(None)

    def _say(self, tried: Answer, refusal: RefusedError) -> None:
        why = (
            f"{tried.record.topic} refuses even a dead letter without the value of {source_of(tried.event)} ({refusal}): "
            f"{refusal.remedy}"
        )
        if self._standstill.refused(why):
            log.error("%s; trying again until it is taken", why)

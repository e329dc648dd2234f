"""Starts again what died, as a container engine would: at once, then after growing pauses."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ops.local.process import ChildProcess

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
# Who ran for so long was well; the next pause is the first again.
WELL_AFTER_S = 30.0

logger = logging.getLogger(__name__)


@dataclass
class _Watched:
    child: ChildProcess
    started_at: float
    pause_s: float = FIRST_PAUSE_S
    start_at: float | None = None  # None while it runs


class Supervisor:
    """Watches children that run; `on_start` is called after each that was started again."""

    def __init__(self, children: Sequence[ChildProcess], on_start: Callable[[], None]) -> None:
        self._on_start = on_start
        now = time.monotonic()
        self._watched = [_Watched(child, started_at=now) for child in children]

    def look(self) -> None:
        """Look at each child once: note who died, start who has paused for long enough."""
        started = [watched for watched in self._watched if self._look_at(watched)]
        if started:
            self._on_start()

    def _look_at(self, watched: _Watched) -> bool:
        now = time.monotonic()
        child = watched.child
        if child.running:
            return False
        if watched.start_at is None:
            if now - watched.started_at > WELL_AFTER_S:
                watched.pause_s = FIRST_PAUSE_S
            watched.start_at = now + watched.pause_s
            logger.warning(
                "%s ended with code %s; starting it again in %.1f s (%s)",
                child.name,
                child.returncode,
                watched.pause_s,
                child.log,
            )
        if now < watched.start_at:
            return False
        child.start()
        logger.info("%s runs again, process %s", child.name, child.pid)
        watched.started_at, watched.start_at = now, None
        watched.pause_s = min(2 * watched.pause_s, LONGEST_PAUSE_S)
        return True

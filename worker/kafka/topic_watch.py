"""Watches the topics' settings: a process waits at its start until they keep its promises, and /health/ready names what changes later."""

import logging
import threading
from collections.abc import Callable
from typing import Self

from schemas.errors import MarqueeError, UnreachableError
from schemas.settings import Settings
from schemas.topics import Role
from worker.kafka.aside import AdminProcess
from worker.kafka.topic_checks import UNREAD_REMEDY, faults, unreadable, waiting
from worker.kafka.topics import TopicState, ensure_topics, topic_states
from worker.monitoring.http import Health
from worker.monitoring.threads import start_side

log = logging.getLogger(__name__)

_TOPICS_SECONDS = 5.0
_WAIT_SECONDS = 1.0
# An operator's change is named within a minute: this, and a look.
LOOK_SECONDS = 45.0


class TopicWatch:
    """Looks at the topics before the process takes any record, then every 45 s, in a thread that no poll waits for."""

    def __init__(self, settings: Settings, role: Role, health: Health) -> None:
        self._settings, self._role, self._health = settings, role, health
        self._said: set[str] = set()
        self._left = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def wait(self, stopped: Callable[[float], bool]) -> None:
        """Create and check the topics, for as long as Kafka is away or a fault stops this process; then watch on.

        Args:
            stopped: waits up to so many seconds, and returns whether this process has to end.

        Raises:
            SettingsError: as `ensure_topics`.
        """
        while not stopped(0.0):
            self._health.turn()
            try:
                ensure_topics(self._settings, _TOPICS_SECONDS)
                self._health.set("kafka", None)
                if self._look():
                    break
            except UnreachableError as error:
                self._health.set("kafka", str(error))
                log.warning("waiting for Kafka: %s", error)
            stopped(_WAIT_SECONDS)
        start_side("topics", self._run, self._left)

    def _look(self) -> bool:
        """Whether the topics keep what this process promises; readiness and the log name what does not. Raises as `topic_states`."""
        return self._judge(topic_states(self._settings, _TOPICS_SECONDS))

    def _judge(self, seen: list[TopicState]) -> bool:
        states = {state.name: state for state in seen}
        found = faults(self._settings.names, states)
        stopping = waiting(found, self._role)
        self._health.set("topics", "; ".join(map(str, stopping)) or None)
        unread = unreadable(states)
        self._say(
            *map(str, found),
            *([f"the settings of {', '.join(unread)} may not be read; {UNREAD_REMEDY}"] if unread else []),
        )
        return not stopping

    def _say(self, *problems: str) -> None:
        """Log what is new since the last look."""
        for problem in problems:
            if problem not in self._said:
                log.warning("%s", problem)
        self._said = set(problems)

    def _run(self) -> None:
        while not self._left.wait(LOOK_SECONDS):
            try:
                with AdminProcess() as admin:
                    self._judge(
                        admin.call(topic_states, self._settings, _TOPICS_SECONDS, seconds=2 * _TOPICS_SECONDS)
                    )
            except MarqueeError as error:  # the process' own clients say what keeps it from its work
                log.debug("topics not looked at: %s", error)

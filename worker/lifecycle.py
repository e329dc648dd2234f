"""How a process of ours begins and ends, whatever its work is."""

import logging
import signal

from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.http import Health
from worker.stopping import Stopping
from worker.topics import ensure_topics

log = logging.getLogger(__name__)

_TOPICS_SECONDS = 5.0


def wait_for_topics(settings: Settings, health: Health, stopping: Stopping) -> None:
    """Make sure of the topics, for as long as Kafka takes to answer."""
    while not stopping.is_set():
        health.turn()
        try:
            ensure_topics(settings, _TOPICS_SECONDS)
            break
        except UnreachableError as error:
            health.set("kafka", str(error))
            log.warning("waiting for Kafka: %s", error)
            stopping.wait(1.0)
    health.set("kafka", None)


def end_quietly() -> None:
    """All is done: a second signal, while the interpreter ends, must not turn exit code 0 into another."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    log.info("stopped")

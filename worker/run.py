"""A worker process: its parts in the order in which they start, and stop the other way round."""

import logging
import signal
import threading
from importlib.metadata import version
from types import FrameType

from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.answer import Answerer
from worker.heartbeat import Heartbeat
from worker.http import Health, serve
from worker.identity import claim_identity
from worker.metrics import Metrics
from worker.milvus import Milvus
from worker.retrieval import Retriever
from worker.serving import Serving
from worker.stream import Stream
from worker.topics import ensure_topics

log = logging.getLogger(__name__)

_TOPICS_SECONDS = 5.0


def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Raises:
        SettingsError: a wrong setting, or Kafka or Milvus refuse who we are.
        FatalKafkaError: Kafka ended this process for good; a new one can go on.
    """
    stopping = threading.Event()
    identity = claim_identity(
        settings.worker.id, f"{settings.kafka.bootstrap_servers} {settings.names.worker_group}"
    )
    health, metrics = Health(), Metrics()
    http = serve(settings.http, health)
    log.info("worker %s, metrics and health at http://%s", identity.id, http.address)
    milvus = Milvus(settings.milvus)
    heartbeat = Heartbeat(settings, identity.id, version("marquee"), http.address)
    serving = Serving(settings, milvus, heartbeat, health, metrics)
    retriever = Retriever(settings, milvus, health, metrics)
    answerer = Answerer(settings.names.dead_letters, serving, retriever, metrics)
    stream = Stream(
        settings, identity.id, answerer.answer, answerer.last_resort, serving.raise_failure, health, metrics
    )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()
        stream.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        wait_for_topics(settings, health, stopping)
        serving.start()
        while not stopping.is_set() and not serving.wait(0.2):
            health.turn()
            serving.raise_failure()
        if not stopping.is_set():
            stream.run()
    finally:
        serving.stop()
        heartbeat.end(seconds=1.0)
        milvus.close()
        http.close()
        identity.release()
    log.info("stopped")


def wait_for_topics(settings: Settings, health: Health, stopping: threading.Event) -> None:
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

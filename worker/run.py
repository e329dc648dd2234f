"""A worker process: its parts in the order in which they start, and stop the other way round."""

import logging
from contextlib import closing
from importlib.metadata import version

from prometheus_client import REGISTRY, CollectorRegistry

from schemas.settings import Settings
from worker.identity import claim_identity
from worker.kafka.topic_watch import TopicWatch
from worker.lifecycle import end_quietly
from worker.monitoring.http import Health, serve
from worker.monitoring.latest import KEPT, Latest
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Access, Page
from worker.monitoring.trend import Trend
from worker.retrieval.milvus import Milvus
from worker.retrieval.retriever import Retriever
from worker.serving.active import Serving
from worker.serving.answer import Answerer
from worker.serving.blocklist import Withdrawals
from worker.serving.heartbeat import Heartbeat
from worker.serving.shadow import Shadow
from worker.stopping import Stopping, on_signals
from worker.stream.loop import Stream

log = logging.getLogger(__name__)


def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Raises:
        SettingsError: a wrong setting, or Kafka or Milvus refuse who we are.
        FatalKafkaError: Kafka ended this process for good; a new one can go on.
    """
    if settings.worker.delivery is not None:
        log.warning(
            "MARQUEE_WORKER__DELIVERY is deprecated: every result is published exactly once; remove it"
        )
    stopping = Stopping()
    on_signals(stopping.set)
    health, metrics = Health(), Metrics()
    access = Access(settings.http)
    latest = Latest(kept=KEPT if access.possible else 0)
    with (
        claim_identity(settings.worker.id, settings.names.worker_group) as identity,
        Trend(REGISTRY) as trend,
        serve(settings.http, health, page=Page(identity.id, access, trend, latest)) as http,
        closing(Milvus(settings.milvus)) as milvus,
        TopicWatch(settings, "worker", health) as topics,
    ):
        log.info("worker %s, its page, metrics and health at http://%s", identity.id, http.address)
        topics.wait(stopping)
        heartbeat = Heartbeat(settings, identity.id, version("marquee"), http.reachable)
        with (
            Withdrawals(settings, heartbeat, metrics) as withdrawals,
            Serving(settings, milvus, heartbeat, health, metrics) as serving,
        ):
            retriever = Retriever(settings, milvus, health, metrics)
            shadow = _shadow(settings, serving, milvus, metrics, withdrawals)

            def raise_failure() -> None:
                for part in (serving, withdrawals, retriever, shadow):
                    part.raise_failure()
                health.set("withdrawals", withdrawals.undecodable)

            # Known as live before the withdrawals are read for the first partitions: who waits for all workers to have
            # read one must not miss this one.
            while not stopping.is_set() and not (serving.wait(0.2) and heartbeat.known.wait(0.2)):
                health.turn()
                raise_failure()
            if not stopping.is_set():
                answerer = Answerer(
                    settings.names.dead_letters,
                    serving,
                    retriever,
                    metrics,
                    shadow,
                    lambda: withdrawals.movies,
                )
                Stream(
                    settings,
                    identity.id,
                    answerer,
                    raise_failure,
                    withdrawals.read_to_end,
                    health,
                    metrics,
                    latest,
                    stopping,
                ).run()
        heartbeat.end(seconds=1.0)
    end_quietly()


def _shadow(
    settings: Settings, serving: Serving, milvus: Milvus, metrics: Metrics, withdrawals: Withdrawals
) -> Shadow:
    """An answerer beside the one that serves, whose health and metrics are nobody's but its own."""
    unseen = Metrics(CollectorRegistry())
    retriever = Retriever(settings, milvus, Health(), unseen)
    beside = Answerer(
        settings.names.dead_letters, serving, retriever, unseen, withheld=lambda: withdrawals.movies
    )
    return Shadow(beside.recommend, metrics, retriever.raise_failure)

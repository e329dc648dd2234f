"""The three processes, each composed of its parts in start order; they stop in the opposite order.

Each function imports the packages of its own process: Paddle and pymilvus take seconds and 200 MB, and the outcomes worker needs
neither.
"""

import logging
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry

from schemas.settings import Settings
from worker.monitoring.http import Health, serve
from worker.process import claim_identity, until_signalled

if TYPE_CHECKING:
    from worker.monitoring.metrics import Metrics
    from worker.retrieval.index import IndexStore
    from worker.serving import Blocklist, ReleaseFollower, Shadow

log = logging.getLogger(__name__)

THREADS = {
    "worker": (
        *("trend", "http", "topics"),
        *("withdrawals", "serving", "load-", "shadow", "milvus-probe"),
        *("positions", "tails", "reconciliation", "answer", "publish", "read-aside", "rehearsal", "close"),
    ),
    "indexer": ("http", "topics", "job", "close"),
    "outcomes": ("http", "topics", "close"),
}
"""Names of the threads beside the main thread, in start order; the main thread polls."""


def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Raises:
        SettingsError: a setting is wrong, or Kafka or Milvus refuses this client.
        FatalKafkaError: Kafka ended this client for good; a new process can go on.
    """
    from worker.kafka.topics import TopicWatch
    from worker.monitoring.metrics import Metrics
    from worker.monitoring.page import KEPT, Access, Latest, Page
    from worker.monitoring.trend import Trend
    from worker.retrieval.index import open_store
    from worker.retrieval.retriever import Retriever
    from worker.serving import Answerer, Blocklist, Heartbeat, Recommender, ReleaseFollower
    from worker.stream.loop import Stream

    if settings.worker.delivery is not None:
        log.warning(
            "MARQUEE_WORKER__DELIVERY is deprecated: every result is published exactly once; remove it"
        )
    health, metrics = Health(), Metrics()
    access = Access(settings.http)
    latest = Latest(kept=KEPT if access.possible else 0)
    with (
        until_signalled() as stopping,
        claim_identity(settings.worker.id, settings.names.worker_group) as identity,
        Trend(REGISTRY) as trend,
        serve(settings.http, health, page=Page(identity.id, access, trend, latest)) as http,
        closing(open_store(settings)) as store,
        TopicWatch(settings, "worker", health) as topics,
    ):
        log.info("worker %s, its page, metrics and health at http://%s", identity.id, http.address)
        # 1. Wait for topics that keep the promises.
        topics.wait(stopping.wait)
        heartbeat = Heartbeat(settings, identity.id, version("marquee"), http.reachable)
        with (
            Blocklist(settings, heartbeat, metrics) as blocklist,
            ReleaseFollower(settings, store, heartbeat, health, metrics) as follower,
        ):
            retriever = Retriever(settings, store, health, metrics)
            shadow = _shadow(settings, follower, store, metrics, blocklist)

            def raise_failure() -> None:
                for part in (follower, blocklist, retriever, shadow):
                    part.raise_failure()
                health.set("withdrawals", blocklist.undecodable)

            # 2. Wait for a release, and for the first heartbeat: a command that waits until all live workers have read a
            #    withdrawal must know of this worker before it reads withdrawals for its first partitions.
            while not stopping.is_set() and not (follower.wait(0.2) and heartbeat.known.wait(0.2)):
                health.turn()
                raise_failure()
            # 3. Consume until stopped.
            if not stopping.is_set():
                answerer = Answerer(
                    settings.names.dead_letters,
                    follower.serving,
                    Recommender(retriever.search, diversity=settings.worker.diversity, observer=metrics),
                    metrics,
                    blocklist=lambda: blocklist.movies,
                    shadow=shadow,
                )
                Stream(
                    settings,
                    identity.id,
                    answerer,
                    raise_failure,
                    blocklist.read_to_end,
                    health,
                    metrics,
                    latest,
                    stopping,
                ).run()
        heartbeat.end(seconds=1.0)


def _shadow(
    settings: Settings,
    follower: "ReleaseFollower",
    store: "IndexStore",
    metrics: "Metrics",
    blocklist: "Blocklist",
) -> "Shadow":
    """An answerer for candidates, with health and metrics that are not shown."""
    from worker.monitoring.metrics import Metrics
    from worker.retrieval.retriever import Retriever
    from worker.serving import Answerer, Recommender, Shadow

    unseen = Metrics(CollectorRegistry())
    retriever = Retriever(settings, store, Health(), unseen)
    answerer = Answerer(
        settings.names.dead_letters,
        follower.serving,
        Recommender(retriever.search, diversity=settings.worker.diversity, observer=unseen),
        unseen,
        blocklist=lambda: blocklist.movies,
    )
    return Shadow(answerer.recommend, metrics, retriever.raise_failure)


def run_indexer(settings: Settings) -> None:
    """Run an indexer until SIGTERM or SIGINT. Raises as `run_worker`."""
    from worker.indexer.loop import Indexer
    from worker.monitoring.indexer_metrics import IndexerMetrics

    health = Health()
    with (
        until_signalled() as stopping,
        claim_identity(settings.indexer.id, settings.names.indexer_group) as identity,
        serve(settings.http, health) as http,
    ):
        log.info("indexer %s, metrics and health at http://%s", identity.id, http.address)
        Indexer(settings, identity.id, health, IndexerMetrics(), stopping).run()


def run_outcomes(settings: Settings) -> None:
    """Run an outcomes worker until SIGTERM or SIGINT. Raises as `run_worker`, but for Milvus."""
    from worker.monitoring.outcomes_metrics import OutcomesMetrics
    from worker.outcomes.loop import Outcomes

    health = Health()
    with until_signalled() as stopping, serve(settings.http, health) as http:
        log.info("outcomes worker, metrics and health at http://%s", http.address)
        Outcomes(settings, health, OutcomesMetrics(), stopping).run()

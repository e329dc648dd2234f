"""The overview of a running deployment: health of its parts, releases, live workers, lag."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]  # re-exported

from ops.deployment.lag import Group, group_on
from producer.cluster import Refusal, unreachable
from schemas import kafka
from schemas.errors import MarqueeError
from schemas.release import WorkerRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.indexer.retention import has_our_name, named_collections
from worker.kafka.reader import read_releases
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus

_DIAGNOSIS_SECONDS = 10.0  # on a busy machine a look at every part takes seconds


@dataclass(frozen=True)
class Part:
    """A part of the deployment; `problem` is a sentence, or None if it is healthy."""

    name: str
    detail: str
    problem: str | None = None


@dataclass(frozen=True)
class Overview:
    """The parts, releases, workers and groups at about one moment."""

    parts: list[Part]
    releases: ReleasesView
    workers: list[WorkerRecord]
    groups: list[Group]
    stored: list[str]

    @property
    def problems(self) -> list[str]:
        return [f"{part.name}: {part.problem}" for part in self.parts if part.problem]

    def served_by(self, release: str) -> list[str]:
        """List the live workers that serve a release."""
        return [worker.worker for worker in self.workers if worker.release == release]


def overview(settings: Settings, timeout_s: float) -> Overview:
    """Look at every part. Only Kafka, whose records name the others, must be reachable.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused the credentials.
    """
    deadline = time.monotonic() + timeout_s
    refusal = Refusal()
    own: kafka.Config = {"error_cb": refusal, "log_level": 0}
    admin = AdminClient(kafka.admin(settings.kafka, own))
    try:
        metadata = admin.list_topics(timeout=timeout_s)
        groups = list(_groups(admin, own, settings, metadata, deadline))
    except KafkaException as error:
        admin.poll(0)
        raise unreachable(settings.kafka, refusal, timeout_s, error.args[0]) from None
    view = ReleasesView()
    if settings.names.releases in metadata.topics:
        view = read_releases(settings, max(1.0, deadline - time.monotonic()))
    workers = view.live_workers()
    store, stored = _store(settings, view)
    parts = [
        _kafka(settings, metadata),
        _milvus(settings, view, max(1.0, deadline - time.monotonic())),
        store,
        _release(view),
        _workers(view, workers),
        _indexer(settings, groups),
    ]
    return Overview(parts, view, workers, groups, stored)


def cause_of_silence(settings: Settings) -> str:
    """Name the parts that may keep an event without a result."""
    try:
        seen = overview(settings, _DIAGNOSIS_SECONDS)
    except MarqueeError as error:
        return str(error)
    waiting = sum(group.total_lag for group in seen.groups if group.name == settings.names.worker_group)
    causes = [*seen.problems, *([f"{waiting:,} events wait for the workers"] if waiting else [])]
    return "; ".join(causes) or "every part is healthy; see the worker's log"


def _groups(
    admin: AdminClient,
    own: kafka.Config,
    settings: Settings,
    metadata: ClusterMetadata,
    deadline: float,
) -> Iterator[Group]:
    names = settings.names
    for group, topic in (
        (names.worker_group, names.profiles),
        (names.indexer_group, names.release_commands),
    ):
        if topic in metadata.topics:
            left = max(1.0, deadline - time.monotonic())
            # Lag includes records behind an open transaction.
            uncommitted = own | {"isolation.level": "read_uncommitted"}
            consumer = Consumer(kafka.reader(settings.kafka, group, uncommitted))
            try:
                yield group_on(admin, consumer, group, topic, len(metadata.topics[topic].partitions), left)
            finally:
                consumer.close()


def _kafka(settings: Settings, metadata: ClusterMetadata) -> Part:
    names = settings.names
    wanted = names.topics
    detail = f"{_counted(len(metadata.brokers), 'broker')} at {settings.kafka.bootstrap_servers}"
    missing = [name for name in wanted if name not in metadata.topics]
    if missing:
        return Part("kafka", detail, f"no topic {', '.join(missing)}; create them with `marquee topics`")
    leaderless = [
        f"{name}-{number}"
        for name in wanted
        for number, partition in metadata.topics[name].partitions.items()
        if partition.leader < 0
    ]
    problem = f"no leader of {', '.join(leaderless)}; see that every broker runs" if leaderless else None
    return Part("kafka", detail, problem)


def _milvus(settings: Settings, view: ReleasesView, timeout_s: float) -> Part:
    limited = settings.milvus.model_copy(update={"timeout_s": min(timeout_s, settings.milvus.timeout_s)})
    server = Milvus(limited)
    try:
        there = server.list("")
        collections = {name for name in there if has_our_name(settings.names, name)} & named_collections(view)
        detail = f"{_counted(len(collections), 'collection')} at {settings.milvus.uri}"
        if view.active is None:
            return Part("milvus", detail)
        if view.active.collection not in collections:
            return Part("milvus", detail, f"the active collection {view.active.collection} is not there")
        rows = server.count(view.active.collection)
        return Part("milvus", f"{detail}, {rows:,} movies in the active one")
    except MarqueeError as error:
        return Part("milvus", settings.milvus.uri, str(error))
    finally:
        server.close()


def _store(settings: Settings, view: ReleasesView) -> tuple[Part, list[str]]:
    try:
        store = ReleaseStore(settings.store)
        stored = store.names()
        missing = store.missing(view.active.release) if view.active else []
    except (
        MarqueeError,
        OSError,
        ValueError,
        ImportError,
    ) as error:  # an unknown or uninstalled protocol too
        return Part("store", settings.store, str(error)), []
    if view.active and missing:
        lost = f"the active release {view.active.release} lacks {', '.join(missing)}; copy it into the store again"
        return Part("store", settings.store, lost), stored
    return Part("store", f"{_counted(len(stored), 'release')} in {settings.store}"), stored


def _release(view: ReleasesView) -> Part:
    if view.active is None:
        return Part(
            "release", "none", "no release is active; index one with `marquee reindex RELEASE --wait`"
        )
    return Part("release", f"{view.active.release} is active, epoch {view.active.epoch}")


def _workers(view: ReleasesView, workers: list[WorkerRecord]) -> Part:
    detail = f"{len(workers)} alive"
    if not workers:
        return Part("workers", detail, "no worker is alive; start one with `marquee worker`")
    problems = [f"{worker.worker}: {worker.problem}" for worker in workers if worker.problem]
    if view.active and not any(worker.epoch == view.active.epoch for worker in workers):
        problems.append(f"none serves {view.active.release} yet")
    return Part("workers", detail, "; ".join(problems) or None)


def _indexer(settings: Settings, groups: list[Group]) -> Part:
    members = sum(group.members for group in groups if group.name == settings.names.indexer_group)
    problem = None if members else "no indexer is alive; start one with `marquee indexer`"
    return Part("indexer", f"{members} alive", problem)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

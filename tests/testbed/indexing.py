"""Releases in a deployment: indexers in threads and as processes, commands for them, and activation without an indexer."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from ops.deployment.indexing import newest
from ops.local.process import ChildProcess
from producer import commands
from producer.commands import NoOutcomeError, send_command, wait_for_outcome
from schemas import kafka
from schemas.errors import MarqueeError
from schemas.release import (
    ACTIVE_KEY,
    ActiveRecord,
    CommandOutcome,
    ReleaseCommand,
    ReleaseRecord,
    ReleaseState,
    release_key,
)
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.indexer.loop import Indexer
from worker.kafka.reader import read_releases
from worker.kafka.topics import ensure_topics
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.process import Stopping
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus

TIMEOUT = 120.0
INDEX_SECONDS = 300.0
# A cluster that has just started on a busy machine is slow with its first record.
SEND_SECONDS = 90.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 5.0


def with_store(settings: Settings, two_releases: Path) -> Settings:
    """Settings whose store is a copy, to be broken at will, and whose topics exist."""
    shutil.copytree(two_releases, settings.store)
    ensure_topics(settings, TIMEOUT)
    return settings


@contextmanager
def indexer(settings: Settings, name: str = "first") -> Iterator[Health]:
    health = Health()
    stopping = Stopping()
    running = Indexer(settings, name, health, IndexerMetrics(CollectorRegistry()), stopping)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            running.run()
        except BaseException as failure:  # noqa: BLE001  reported below
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield health
    finally:
        stopping.set()
        thread.join()
    assert not failures


def names(settings: Settings) -> list[str]:
    return ReleaseStore(settings.store).names()


def carry_out(settings: Settings, action: str, release: str | None = None, **fields: Any) -> CommandOutcome:
    command = ReleaseCommand.model_validate({"action": action, "release": release} | fields)
    send_command(settings, command, TIMEOUT)
    return wait_for_outcome(settings, command, TIMEOUT)


def view_of(settings: Settings) -> ReleasesView:
    return read_releases(settings, TIMEOUT)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def collections(settings: Settings) -> list[str]:
    client = Milvus(settings.milvus)
    try:
        return client.list(settings.names.collection_prefix)
    finally:
        client.close()


def corrupt(settings: Settings, release: str) -> None:
    """Flip one bit in the middle of the movie tower's parameters."""
    manifest = ReleaseStore(settings.store).manifest(release)
    path = Path(settings.store) / release / manifest.towers.movie.parameters
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def index_newest(
    settings: Settings, folder: Path, environment: Mapping[str, str], seconds: float = INDEX_SECONDS
) -> dict[str, set[str]]:
    """Have an indexer process index and activate the newest release of the store; the collections of each release.

    Raises:
        MarqueeError: the indexer rejected the release, ended, or took longer.
    """
    command = ReleaseCommand(action="index", release=newest(settings))
    send_command(settings, command, SEND_SECONDS)
    process = ChildProcess(
        "indexer",
        [sys.executable, "-m", "ops", "indexer"],
        log=folder / "indexer.log",
        environment={**environment, "MARQUEE_HTTP__PORT": "0"},
    )
    process.start()
    try:
        outcome = _outcome(settings, command, process, seconds)
    finally:
        process.stop(_STOP_SECONDS)
    if outcome.outcome != "done":
        raise MarqueeError(f"the release was not activated: {outcome.reason}.{process.log_tail()}")
    releases = read_releases(settings, INDEX_SECONDS).releases
    return {name: {record.collection} for name, record in releases.items() if record.collection}


def _outcome(
    settings: Settings, command: ReleaseCommand, process: ChildProcess, seconds: float = INDEX_SECONDS
) -> CommandOutcome:
    """The outcome of a command, waited for only while the indexer lives."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return commands.wait_for_outcome(settings, command, _LOOK_SECONDS, connect_timeout_s=SEND_SECONDS)
        except NoOutcomeError as error:
            if not process.running:
                raise MarqueeError(
                    f"the indexer ended with code {process.returncode}.{process.log_tail()}"
                ) from None
            if time.monotonic() > deadline:
                raise MarqueeError(f"{error}{process.log_tail()}") from None


def activate(
    settings: Settings, *, epoch: int = 1, release: str | None = None, plain: bool = False
) -> ActiveRecord:
    """Build the collection of a release (the newest by default) without an indexer, and publish the release as active.

    `plain` gives the collection the name that earlier versions used.
    """
    ensure_topics(settings, 30)
    store = ReleaseStore(settings.store)
    name = release or store.names()[-1]
    loaded = store.load(name)
    catalogue = loaded.catalogue
    vectors = loaded.embed_movies(0, len(catalogue))
    collection = settings.names.collection(name, epoch)
    if plain:
        collection = collection.replace(settings.names.collection_prefix, settings.names.plain_prefix, 1)
    milvus = Milvus(settings.milvus)
    milvus.create(collection, loaded.manifest.dimension)
    milvus.insert(collection, catalogue, vectors)
    milvus.finish(collection, loaded.manifest.metric)
    milvus.close()
    active = ActiveRecord(release=name, collection=collection, epoch=epoch)
    record = ReleaseRecord(
        release=name,
        state=ReleaseState.ACTIVE,
        collection=collection,
        vectors_sha256=keep_vectors(store, name, vectors),
    )
    producer = Producer(kafka.producer(settings.kafka))
    producer.produce(settings.names.releases, record.model_dump_json().encode(), release_key(name))
    producer.produce(settings.names.releases, active.model_dump_json().encode(), ACTIVE_KEY)
    assert producer.flush(30) == 0
    return active


def keep_vectors(store: ReleaseStore, release: str, vectors: NDArray[np.float32]) -> str:
    """Keep the catalogue's vectors, float32 [movies, dimension]; gives the file's sha256."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        np.save(path, vectors)
        return store.keep_vectors(release, path)

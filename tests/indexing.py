"""Indexers in threads, and commands for them, for tests on real servers."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from producer.commands import send_command, wait_for_outcome
from schemas.release import CommandOutcome, ReleaseCommand
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

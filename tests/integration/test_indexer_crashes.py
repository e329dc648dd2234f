"""An indexer dies at each step in turn: the next one finishes the command once, and sweeps the leftovers."""

import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from producer.commands import send_command, wait_for_outcome
from schemas import kafka as clients
from schemas.release import ReleaseCommand
from schemas.settings import Settings
from tests.testbed.processes import Process, wait_for
from worker.indexer.commands import Commands
from worker.indexer.loop import Indexer
from worker.indexer.membership import StateWriter
from worker.kafka.reader import read_releases
from worker.kafka.topics import ensure_topics
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.process import Stopping
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus

TIMEOUT = 120.0

# The step at which it dies: before or after the n-th call of a method (a sweep calls none of these but `write`).
STEPS: list[tuple[str, Any, str, int]] = [
    ("before", ReleaseStore, "load", 1),  # the command was polled
    ("before", Milvus, "create", 1),  # `indexing` was published
    ("after", Milvus, "insert", 2),  # half-built
    ("before", Milvus, "finish", 1),  # filled
    ("before", Milvus, "count", 1),  # loaded, not checked
    ("before", ReleaseStore, "evaluation", 1),  # checked, not compared
    ("after", shutil, "copyfileobj", 1),  # the vectors are half-written
    ("after", ReleaseStore, "keep_vectors", 1),
    ("before", Commands, "_activate", 1),  # `ready` was published
    ("before", Milvus, "alias", 1),  # `active` was published
    ("after", StateWriter, "write", 1),
]


class Death(BaseException):
    """An error that no part of the indexer catches."""


def dies(monkeypatch: pytest.MonkeyPatch, moment: str, owner: Any, name: str, time_: int) -> threading.Event:
    """Make one call raise Death; the event is set once it did."""
    original: Callable[..., Any] = getattr(owner, name)
    died, calls = threading.Event(), [0]

    def deadly(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] != time_ or died.is_set():
            return original(*arguments, **named)
        result = original(*arguments, **named) if moment == "after" else None
        died.set()
        raise Death(result)

    monkeypatch.setattr(owner, name, deadly)
    return died


class Running:
    """An indexer in a thread, which may die."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._stopping = Stopping()
        self._indexer = Indexer(settings, name, Health(), IndexerMetrics(CollectorRegistry()), self._stopping)
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        with suppress(Death):
            self._indexer.run()

    def wait_for_death(self) -> None:
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(TIMEOUT)


@pytest.fixture
def settings(lite_settings: Settings, two_releases: Path) -> Settings:
    shutil.copytree(two_releases, lite_settings.store)
    ensure_topics(lite_settings, TIMEOUT)
    batches = lite_settings.indexer.model_copy(update={"batch_movies": 100})
    return lite_settings.model_copy(update={"indexer": batches})


@pytest.mark.timeout(600)
def test_an_indexer_that_dies_at_any_step_is_succeeded_by_one_that_finishes(settings: Settings) -> None:
    names = ReleaseStore(settings.store).names()
    for number, step in enumerate(STEPS, start=1):
        release = names[number % 2]
        command = ReleaseCommand(action="index", release=release, expected_epoch=number - 1)
        with pytest.MonkeyPatch.context() as patches:
            died = dies(patches, *step)
            first = Running(settings, f"first-{number}")
            send_command(settings, command, TIMEOUT)
            first.wait_for_death()
            assert died.is_set(), step
        second = Running(settings, f"second-{number}")
        outcome = wait_for_outcome(settings, command, TIMEOUT)
        assert outcome.outcome == "done", (step, outcome.reason)

        # Exactly one activation, of a whole collection; every other collection is gone.
        view = read_releases(settings, TIMEOUT)
        assert view.active is not None
        assert (view.active.release, view.epoch) == (release, number), step
        milvus = Milvus(settings.milvus)
        assert milvus.count(view.active.collection) == view.releases[release].rows
        deadline = time.monotonic() + TIMEOUT

        def clean(milvus: Milvus = milvus) -> bool:
            named = {record.collection for record in read_releases(settings, TIMEOUT).releases.values()}
            partial = list(Path(settings.store).glob("vectors/*.part"))
            return set(milvus.list(settings.names.collection_prefix)) <= named and not partial

        wait_for(f"clean after {step}", clean, deadline - time.monotonic())
        milvus.close()
        second.stop()


def test_a_command_that_killed_five_indexers_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands are carried out in order: without a limit this one would block every rollback behind it.

    It has no id, so that each indexer must know it by its offset.
    """
    first, second = ReleaseStore(settings.store).names()
    command = ReleaseCommand(
        action="index", release=first, command_id=f"{settings.names.release_commands}-0-0"
    )
    producer = Producer(clients.producer(settings.kafka))
    value = command.model_dump_json(include={"action", "release"})
    producer.produce(settings.names.release_commands, value)
    assert producer.flush(TIMEOUT) == 0
    load = ReleaseStore.load

    def deadly(store: ReleaseStore, release: str, **options: Any) -> Release:
        if release == first:
            raise Death
        return load(store, release, **options)

    monkeypatch.setattr(ReleaseStore, "load", deadly)
    for number in range(5):
        Running(settings, f"victim-{number}").wait_for_death()
    survivor = Running(settings, "survivor")
    outcome = wait_for_outcome(settings, command, TIMEOUT)
    assert outcome.outcome == "refused"
    assert "5 indexers have begun" in (outcome.reason or "")

    command = ReleaseCommand(action="index", release=second)
    send_command(settings, command, TIMEOUT)
    assert wait_for_outcome(settings, command, TIMEOUT).outcome == "done"
    survivor.stop()


@pytest.mark.timeout(300)
def test_a_zombie_is_fenced_and_its_half_built_collection_dropped(
    lite_settings: Settings, two_releases: Path, tmp_path: Path
) -> None:
    """The zombie hangs in a build for longer than its session, and resumes after another indexer finished the command."""
    settings = lite_settings
    shutil.copytree(two_releases, settings.store)
    ensure_topics(settings, TIMEOUT)
    first, second = ReleaseStore(settings.store).names()
    command = ReleaseCommand(action="index", release=first)
    milvus = Milvus(settings.milvus)
    names = settings.names
    half_built, whole = names.collection(first, 1), names.collection(first, 2)
    with Process(
        "indexer",
        settings,
        tmp_path,
        MARQUEE_INDEXER__ID="zombie",
        MARQUEE_INDEXER__BATCH_MOVIES="1",  # so that building takes its time
        MARQUEE_KAFKA__CLIENT='{"session.timeout.ms": 6000}',
    ) as zombie:
        send_command(settings, command, TIMEOUT)
        wait_for("rows", lambda: half_built in milvus.list(names.collection_prefix), TIMEOUT)
        zombie.child.send_signal(signal.SIGSTOP)

        other = Running(settings, "other")
        try:
            assert wait_for_outcome(settings, command, TIMEOUT).outcome == "done"
            wait_for("the sweep", lambda: milvus.list(names.collection_prefix) == [whole], TIMEOUT)
            before = read_releases(settings, TIMEOUT)

            zombie.child.send_signal(signal.SIGCONT)
            wait_for("the rejoin", lambda: "rejoining the group" in zombie.output)
            wait_for("the zombie to stand by", lambda: "this indexer stands by" in zombie.output)
            after = read_releases(settings, TIMEOUT)
            assert (after.releases, after.active) == (before.releases, before.active)
            assert milvus.list(names.collection_prefix) == [whole]
        finally:
            other.stop()

        # The zombie carries out the next command.
        command = ReleaseCommand(action="index", release=second)
        send_command(settings, command, TIMEOUT)
        assert wait_for_outcome(settings, command, TIMEOUT).outcome == "done"
        assert read_releases(settings, TIMEOUT).epoch == 2
    milvus.close()

"""The sweep on real Kafka and Milvus Lite: collections that it drops, and collections that it leaves alone."""

from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.offline.extend import extend_release
from producer.commands import send_command, wait_for_outcome
from schemas import kafka as clients
from schemas.release import (
    ACTIVE_KEY,
    RECORD_FORMAT,
    ReleaseCommand,
    ReleaseState,
    WorkerRecord,
    now,
    release_key,
    worker_key,
)
from schemas.settings import Settings
from tests.testbed.indexing import TIMEOUT, carry_out, collections, indexer, names, until, view_of, with_store
from tests.testbed.processes import Process
from worker.indexer.ownership import owner_of
from worker.release.catalogue import Catalogue
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus


@pytest.fixture
def lite(lite_settings: Settings, two_releases: Path) -> Settings:
    return with_store(lite_settings, two_releases)


def say(settings: Settings, key: str, value: bytes | None) -> None:
    """Write a record as another process would."""
    producer = Producer(clients.producer(settings.kafka))
    producer.produce(settings.names.releases, value, key)
    assert producer.flush(TIMEOUT) == 0


def test_the_collection_of_an_attempt_that_was_replaced_is_dropped(lite: Settings) -> None:
    release = names(lite)[0]
    with indexer(lite):
        for _ in range(2):
            carry_out(lite, "index", release)
        until(lambda: collections(lite) == [lite.names.collection(release, 2)])
    assert view_of(lite).epoch == 2


def test_a_killed_indexers_work_is_finished_by_another(lite: Settings, tmp_path: Path) -> None:
    """A half-built collection of an indexer that was killed is never active, and is dropped."""
    release = names(lite)[0]
    command = ReleaseCommand(action="index", release=release)
    with Process(
        "indexer",
        lite,
        tmp_path,
        MARQUEE_INDEXER__BATCH_MOVIES="1",  # so that building takes its time
        MARQUEE_WORKER__SESSION_TIMEOUT_MS="16000",
    ):
        send_command(lite, command, TIMEOUT)
        until(lambda: bool(collections(lite)))
    half_built = view_of(lite)
    assert half_built.active is None
    assert half_built.releases[release].state == ReleaseState.INDEXING

    with indexer(lite, "second"):
        outcome = wait_for_outcome(lite, command, TIMEOUT)
        assert outcome.outcome == "done", outcome.reason
        until(lambda: collections(lite) == [lite.names.collection(release, 2)])
    view = view_of(lite)
    assert view.active is not None
    assert view.active.collection == lite.names.collection(release, 2)
    assert view.epoch == 1


def test_a_collection_is_kept_for_as_long_as_a_live_worker_serves_it(lite: Settings) -> None:
    first, second = names(lite)
    new = Catalogue.of({7_001: ("Quiet Horizon (2026)", ["Comedy"])})
    third = extend_release(ReleaseStore(lite.store), second, new).release
    served, *kept = (lite.names.collection(release, 1) for release in (first, second, third))
    slow = WorkerRecord(
        worker="slow", version="1", release=first, epoch=1, collections=[served], started_at=now()
    )
    say(lite, worker_key("slow"), slow.model_dump_json().encode())
    with indexer(lite):
        # Given three releases, of which two are kept, and a worker that serves the one too many.
        for release in (first, second, third):
            assert carry_out(lite, "index", release).outcome == "done"
        # When it is retired by command as well, and cleaned up after: the second outcome comes after that.
        for _ in range(2):
            carry_out(lite, "retire", first)
        # Then
        record = view_of(lite).releases[first]
        assert (record.state, record.collection) == (ReleaseState.RETIRED, None)
        assert collections(lite) == sorted([served, *kept])
        refused = carry_out(lite, "rollback", first)
        assert "has no collection; index it" in (refused.reason or "")

        say(lite, worker_key("slow"), None)
        carry_out(lite, "retire", first)
        until(lambda: collections(lite) == sorted(kept))


def test_what_a_newer_version_has_written_is_left_alone(lite: Settings) -> None:
    first, second = names(lite)
    theirs = lite.names.collection(second, 7)
    milvus = Milvus(lite.milvus)
    milvus.create(theirs, 2, owner_of(lite))
    milvus.close()
    newer = b'{"format": %d, "state": "told otherwise"}' % (RECORD_FORMAT + 1)
    for key in (ACTIVE_KEY, release_key(second)):
        say(lite, key, newer)
    with indexer(lite) as health:
        until(lambda: "upgrade" in health.problems)
        refused = carry_out(lite, "index", first)
        assert (refused.outcome, "upgrade this indexer" in (refused.reason or "")) == ("refused", True)
        assert view_of(lite).newer == {
            ACTIVE_KEY: RECORD_FORMAT + 1,
            release_key(second): RECORD_FORMAT + 1,
        }
        assert collections(lite) == [theirs]

        # When the newer records are gone, then commands are carried out again.
        for key in (ACTIVE_KEY, release_key(second)):
            say(lite, key, None)
        assert carry_out(lite, "index", first).outcome == "done"
        until(lambda: collections(lite) == [lite.names.collection(first, 1)])
        assert "upgrade" not in health.problems

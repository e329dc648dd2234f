"""A release that a worker cannot load: what it served goes on, everybody hears of it, and what is mended is taken over."""

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer

from producer.endings import Ending, Result
from schemas import kafka as clients
from schemas.manifest import MANIFEST_FORMAT
from schemas.release import ACTIVE_KEY, ActiveRecord
from schemas.settings import Settings
from tests.integration.test_worker import assert_each_once, everything, publish
from tests.testbed.indexing import activate, corrupt, with_store
from tests.testbed.processes import Process, marquee, wait_for
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus

FAILURES = 'marquee_release_load_failures_total{what="active"}'


@pytest.fixture
def settings(lite_settings: Settings, two_releases: Path) -> Settings:
    return with_store(lite_settings, two_releases)


def promote(settings: Settings, release: str, epoch: int) -> None:
    """Say that a release serves, as an indexer does whose store is well."""
    record = ActiveRecord(release=release, collection=settings.names.collection(release, epoch), epoch=epoch)
    producer = Producer(clients.producer(settings.kafka))
    producer.produce(settings.names.releases, record.model_dump_json(), ACTIVE_KEY)
    assert producer.flush(60) == 0


def problem_with(worker: Process, words: str) -> str:
    """What keeps it from the active release, as soon as that has these words in it."""

    def told() -> str | None:
        problem = str(worker.readiness().get("problems", {}).get("release", ""))
        return problem if words in problem else None

    return wait_for(words, told)


def made_by(outcomes: list[Ending]) -> list[str]:
    return [outcome.recommendation.release for outcome in outcomes if isinstance(outcome, Result)]


def test_what_served_goes_on_until_the_next_can_be_loaded(settings: Settings, tmp_path: Path) -> None:
    store = ReleaseStore(settings.store)
    first, second = store.names()
    activate(settings, release=first)
    with Process("worker", settings, tmp_path, MARQUEE_WORKER__ID="w") as worker:
        worker.wait_ready()

        # Given a release of a newer version.
        newer = Path(settings.store) / "29991231T000000-abcdef"
        newer.mkdir()
        (newer / "manifest.json").write_text(f'{{"format": {MANIFEST_FORMAT + 1}}}')
        promote(settings, newer.name, 2)
        assert newer.name in problem_with(worker, "upgrade Marquee")

        # Given one with a flipped bit.
        manifest = store.manifest(second)
        parameters = store.fetch(manifest) / manifest.towers.movie.parameters
        pristine = parameters.read_bytes()
        corrupt(settings, second)
        promote(settings, second, 3)
        problem = problem_with(worker, "sha256")
        assert problem.startswith(f"cannot serve release {second} of epoch 3")
        assert worker.get("/health/ready")[0] == 503
        assert worker.metric(FAILURES) >= 2
        assert worker.metric("marquee_active_epoch") == 1

        # Then everybody hears of it, and what served goes on.
        said = wait_for("the heartbeat", lambda: _problems(settings).get("w"))
        assert problem in said
        assert f"w {problem}" in marquee(settings, "releases").stdout
        sent = publish(settings, [json.dumps({"user_id": i + 1}).encode() for i in range(20)])
        outcomes = everything(settings, len(sent))
        assert_each_once(sent, outcomes)
        assert set(made_by(outcomes)) == {first}

        # When it is mended, it takes over.
        parameters.write_bytes(pristine)
        activate(settings, release=second, epoch=4)
        # It may have tried the mended one once more before.
        wait_for("its taking over", lambda: worker.metric("marquee_active_epoch") == 4)
        worker.wait_ready()
        wait_for("the heartbeat", lambda: not _problems(settings))
        sent |= publish(settings, [b'{"user_id": 1}'])
        assert made_by(everything(settings, len(sent))).count(second) == 1


def _problems(settings: Settings) -> dict[str, str]:
    found: dict[str, str] = json.loads(marquee(settings, "releases", "--json").stdout)["problems"]
    return found


def test_a_worker_that_cannot_load_what_is_active_waits_and_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    activate(settings)
    store = Path(settings.store)
    away = store.rename(store.with_name("away"))
    with Process("worker", settings, tmp_path) as worker:
        problem_with(worker, "is not in the store")
        sent = publish(settings, [b'{"user_id": 1}'])
        assert worker.metric(FAILURES) >= 1

        away.rename(store)

        assert_each_once(sent, everything(settings, 1))
        worker.wait_ready()


@pytest.mark.parametrize("same", [False, True], ids=["the-next-release", "the-same-release-again"])
def test_events_that_wait_for_a_lost_collection_are_answered_by_what_is_indexed_then(
    settings: Settings, tmp_path: Path, same: bool
) -> None:
    """Given a worker without a copy of the vectors: it has nothing but Milvus to answer from."""
    first, second = ReleaseStore(settings.store).names()
    second = first if same else second
    active = activate(settings, release=first)
    milvus = Milvus(settings.milvus)
    with Process("worker", settings, tmp_path, MARQUEE_WORKER__EXACT_MAX_MB="0") as worker:
        worker.wait_ready()
        milvus.drop(active.collection)
        sent = publish(settings, [json.dumps({"user_id": i + 1}).encode() for i in range(20)])
        wait_for("its finding out", lambda: "milvus" in worker.readiness()["problems"])
        assert "`marquee reindex RELEASE`" in worker.readiness()["problems"]["milvus"]

        activate(settings, release=second, epoch=2)

        outcomes = everything(settings, len(sent))
        assert_each_once(sent, outcomes)
        assert set(made_by(outcomes)) == {second}
        worker.wait_ready()
    milvus.close()

"""Two versions at a time: the previous one beside this one, and this one beside records of a later one."""

import json
import subprocess
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas import kafka
from schemas.release import ACTIVE_KEY, RECORD_FORMAT, ActiveRecord
from schemas.settings import Settings
from tests.integration.test_worker import assert_each_once, everything, publish
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for

pytestmark = pytest.mark.timeout(900)  # workers start six times, also on a busy machine
ROOT = Path(__file__).parent.parent.parent


def git(*arguments: str) -> bytes | None:
    """What git says, or None where it cannot."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def commits_before() -> Iterator[str]:
    """The newest tag before this commit; before there is one, the commit that made the promise this file tests."""
    tag = git("describe", "--tags", "--abbrev=0", "HEAD^")
    promise = git("log", "--diff-filter=A", "--format=%H", "--", Path(__file__).relative_to(ROOT).as_posix())
    for found in (tag, promise):
        if found:
            yield found.decode().split()[-1]


@pytest.fixture(scope="session")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of the previous version; skips in a copy without git history."""
    head = git("rev-parse", "HEAD")
    before = next(commits_before(), None)
    if head is None or before is None or before == head.decode().strip():
        pytest.skip("no version before this one is at hand: it needs a clone with its history")
    archive = git("archive", "--format=zip", before, "schemas", "worker", "producer", "ops", "pyproject.toml")
    assert archive
    folder = tmp_path_factory.mktemp("before")
    with zipfile.ZipFile(BytesIO(archive)) as packages:
        packages.extractall(folder)
    return folder


@pytest.fixture
def settings(lite_settings: Settings, fusion_store: str) -> Settings:
    return lite_settings.model_copy(update={"store": fusion_store})


def users(count: int) -> list[bytes | None]:
    return [json.dumps({"user_id": number + 1}).encode() for number in range(count)]


def working(worker: Process) -> bool:
    return worker.metric('marquee_events_total{outcome="recommendation"}') > 0


def test_both_versions_share_the_partitions_and_take_over_from_each_other(
    settings: Settings, version_before: Path, tmp_path: Path
) -> None:
    activate(settings, plain=True)
    with Process("worker", settings, tmp_path, sources=version_before, MARQUEE_WORKER__ID="a") as before:
        before.wait_ready(120)
        sent = publish(settings, users(200))
        with Process("worker", settings, tmp_path, MARQUEE_WORKER__ID="b") as after:
            wait_for("its share", lambda: "assigned 2 partitions" in after.output, 120)
            sent |= publish(settings, users(500))
            wait_for("work of both", lambda: working(before) and working(after), 120)
            # The upgrade goes on, and back.
            assert before.stop() == 0
            sent |= publish(settings, users(200))
            everything(settings, len(sent), seconds=120)
            with Process(
                "worker", settings, tmp_path, sources=version_before, MARQUEE_WORKER__ID="a"
            ) as again:
                wait_for("its share", lambda: "assigned 2 partitions" in again.output, 120)
                assert after.stop() == 0
                sent |= publish(settings, users(200))
                outcomes = everything(settings, len(sent), seconds=120)

    assert_each_once(sent, outcomes)


def test_a_record_of_a_later_version_changes_nothing_and_is_said(settings: Settings, tmp_path: Path) -> None:
    active = activate(settings)
    with Process("worker", settings, tmp_path) as worker:
        worker.wait_ready(120)

        say(settings, {"format": RECORD_FORMAT + 1, "who": "serves", "is": "said otherwise"})

        problems = wait_for("the report", lambda: worker.readiness().get("problems"))
        assert "upgrade this worker" in problems["upgrade"]
        sent = publish(settings, users(50))
        assert_each_once(sent, everything(settings, len(sent)))

        say(settings, json.loads(active.model_copy(update={"epoch": 2}).model_dump_json()))
        worker.wait_ready()


def test_a_release_of_a_later_version_is_left_alone_and_said(settings: Settings, tmp_path: Path) -> None:
    """Given a store with a release whose manifest has a later format, which a later indexer makes active."""
    from worker.release.store import ReleaseStore

    active = activate(settings)
    store = Path(settings.store)
    later = store / "29991231T000000-abcdef"
    later.mkdir(exist_ok=True)
    manifest = ReleaseStore(settings.store).manifest(active.release).model_copy(update={"format": 2})
    (later / "manifest.json").write_text(manifest.model_dump_json())
    try:
        with Process("worker", settings, tmp_path) as worker:
            worker.wait_ready(120)
            collection = settings.names.collection(later.name, 1)
            promoted = ActiveRecord(release=later.name, collection=collection, epoch=2)
            say(settings, json.loads(promoted.model_dump_json()))

            problems = wait_for("the report", lambda: worker.readiness().get("problems"))
            assert later.name in problems["release"]
            assert "upgrade Marquee" in problems["release"]
            sent = publish(settings, users(50))
            assert_each_once(sent, everything(settings, len(sent)))
    finally:
        (later / "manifest.json").unlink()
        later.rmdir()


def test_a_release_is_not_served_from_another_s_collection(settings: Settings, tmp_path: Path) -> None:
    """Given an active release, and a record that names another one with the same collection."""
    active = activate(settings)
    with Process("worker", settings, tmp_path) as worker:
        worker.wait_ready(120)

        other = ActiveRecord(release="29991231T000000-abcdef", collection=active.collection, epoch=2)
        say(settings, json.loads(other.model_dump_json()))

        problems = wait_for("the report", lambda: worker.readiness().get("problems"))
        assert f"the collection {active.collection} is none of release {other.release}" in problems["release"]


def say(settings: Settings, record: dict[str, object]) -> None:
    """Write what serves."""
    producer = Producer(kafka.producer(settings.kafka))
    producer.produce(settings.names.releases, json.dumps(record), ACTIVE_KEY)
    assert producer.flush(60) == 0

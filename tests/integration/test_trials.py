"""Looking before the leap, from the command line: shadow, canary, activation, rollback, on real Kafka and Milvus."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.deployment.releases import TrialReport, overview
from producer.endings import EndingReader, Result
from schemas import kafka as clients
from schemas.recommendation import Recommendation
from schemas.settings import Settings
from tests.testbed.processes import Process, marquee, wait_for
from worker.kafka.reader import read_releases
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore
from worker.serving.candidate import share_of

USERS = range(1, 201)
SHARE = 0.3

pytestmark = pytest.mark.timeout(600)  # the first test may have servers to start and releases to train


@pytest.fixture
def settings(lite_settings: Settings, two_releases: Path) -> Settings:
    """A store with two releases."""
    shutil.copytree(two_releases, lite_settings.store)
    ensure_topics(lite_settings, 60)
    return lite_settings


def answers(settings: Settings) -> dict[str, Recommendation]:
    """Publish an event for each user, and give what answers it, by key."""
    with EndingReader(settings, start="end") as reader:
        producer = Producer(clients.producer(settings.kafka))
        for user in USERS:
            event = json.dumps({"user_id": user}).encode()
            producer.produce(settings.names.profiles, event, str(user).encode())
        assert producer.flush(60) == 0
        found: dict[str, Recommendation] = {}

        def all_there() -> bool:
            for outcome in reader.endings(0.2):
                assert isinstance(outcome, Result)
                found[str(outcome.recommendation.user_id)] = outcome.recommendation
            return len(found) == len(USERS)

        wait_for("an answer for each user", all_there)
    return found


def shown(settings: Settings) -> dict[str, Any]:
    """What `marquee releases --json` prints."""
    content: dict[str, Any] = json.loads(command(settings, "releases", "--json"))
    return content


def command(settings: Settings, *arguments: str) -> str:
    done = marquee(settings, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def on_trial_at_the_worker(settings: Settings, release: str) -> None:
    def on_trial() -> bool:
        return any(worker.trial == release for worker in read_releases(settings, 60).live_workers())

    wait_for(f"{release} on trial", on_trial)


def comparison(settings: Settings) -> TrialReport | None:
    """The comparisons with the shadow, once the workers have made some."""
    trial = overview(settings, 60).trial
    return trial if trial and trial.compared else None


def test_from_shadow_to_canary_to_activation_and_back(settings: Settings, tmp_path: Path) -> None:
    first, second = ReleaseStore(settings.store).names()
    with Process("indexer", settings, tmp_path), Process("worker", settings, tmp_path) as worker:
        command(settings, "reindex", first, "--wait")
        worker.wait_ready()

        # A shadow, of a release that has no collection yet: it is built, and publishes nothing.
        assert "shadow" in command(settings, "shadow", second, "--share", "1")
        on_trial_at_the_worker(settings, second)
        assert {answer.release for answer in answers(settings).values()} == {first}
        seen = wait_for("comparisons", lambda: comparison(settings))
        assert (seen.record.kind, seen.record.release) == ("shadow", second)
        assert seen.overlap_at_5 is not None
        assert 0.0 <= seen.overlap_at_5 <= 1.0
        assert seen.score_shift is not None
        assert seen.candidate_ms
        assert {row["state"] for row in shown(settings)["releases"]} == {"active", "ready"}

        # A canary answers its share of the keys; each result names its release.
        command(settings, "canary", second, "--share", str(SHARE))
        expected = {
            str(user): second if share_of(second, str(user).encode()) < SHARE else first for user in USERS
        }

        def by_key() -> bool:
            return {key: answer.release for key, answer in answers(settings).items()} == expected

        wait_for("the canary's share", by_key)

        # One command ends it.
        command(settings, "end")
        assert read_releases(settings, 60).trial is None
        wait_for(
            "the end of the canary",
            lambda: {answer.release for answer in answers(settings).values()} == {first},
        )
        refused = marquee(settings, "end")
        assert refused.returncode == 1
        assert "no release is on trial" in refused.stderr

        # A candidate on trial takes over without a build, and one command goes back.
        command(settings, "activate", second)
        wait_for("the second", lambda: {answer.release for answer in answers(settings).values()} == {second})
        assert "went back" in command(settings, "rollback")
        wait_for("the first", lambda: {answer.release for answer in answers(settings).values()} == {first})
        table = command(settings, "releases")
        assert all(name in table for name in (first, second))
        rows = {row["release"]: row for row in shown(settings)["releases"]}
        assert (rows[first]["epoch"], rows[second]["epoch"]) == (3, 2)
        assert worker.metric("marquee_release_mismatches_total") == 0.0

        refused = marquee(settings, "retire", first)
        assert (refused.returncode, "is active" in refused.stderr) == (1, True)
        command(settings, "retire", second)
        assert read_releases(settings, 60).releases[second].collection is None


def test_training_ends_in_a_release_that_serves(
    settings: Settings, generated_data: Path, tmp_path: Path
) -> None:
    before = ReleaseStore(settings.store).names()
    with Process("indexer", settings, tmp_path), Process("worker", settings, tmp_path):
        options = ("--model", "fusion", "--epochs", "1", "--then-reindex")
        trained = command(settings, "train", "--data", str(generated_data), *options).split()[-1]
        assert trained not in before
        view = read_releases(settings, 60)
    assert view.active is not None
    assert view.active.release == trained
    row = next(row for row in shown(settings)["releases"] if row["release"] == trained)
    assert row["metrics"]

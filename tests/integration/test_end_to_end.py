"""Every command that a person uses, on a real worker and indexer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from ops.deployment.overview import cause_of_silence
from ops.traffic.ask import ask
from schemas import kafka as clients
from schemas.errors import MarqueeError
from schemas.recommendation import Recommendation
from schemas.release import ACTIVE_KEY, ActiveRecord
from schemas.settings import Settings
from tests.integration.stub_worker import StubWorker
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, environment_of, marquee
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus


@pytest.fixture
def deployment(lite_settings: Settings, fusion_store: str) -> Settings:
    settings = lite_settings.model_copy(update={"store": fusion_store})
    ensure_topics(settings, 60)
    return settings


@pytest.fixture
def running(deployment: Settings, tmp_path: Path) -> Iterator[Settings]:
    with Process("indexer", deployment, tmp_path), Process("worker", deployment, tmp_path):
        yield deployment


def table_rows(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("\t")] for line in output.splitlines()]


def test_from_an_empty_system_to_answers(running: Settings, tmp_path: Path) -> None:
    # `-i` has the newest release indexed, then asks.
    asked = marquee(running, "recommend", "-i", "-a", "0", "-g", "1", "-j", "10", "--timeout", "60")
    assert asked.returncode == 0, asked.stderr
    header, *rows = table_rows(asked.stdout)
    assert header == ["Top", "Ids", "Title", "Score"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    release = ReleaseStore(running.store).names()[-1]
    assert release in asked.stderr

    # The result is the search result of Milvus, for every profile.
    verified = marquee(running, "verify")
    assert (verified.returncode, verified.stdout) == (0, "294/294\n")

    # Movies just watched are not recommended.
    watched = [row[1] for row in rows[:2]]
    again = marquee(
        running,
        "recommend",
        "-a",
        "0",
        "-g",
        "1",
        "-j",
        "10",
        "--recent",
        ",".join(watched),
        "-k",
        "3",
        "--json",
    )
    assert again.returncode == 0, again.stderr
    answer = Recommendation.model_validate_json(again.stdout)
    assert [str(movie.movie_id) for movie in answer.movies] == [row[1] for row in rows[2:5]]

    # A file of events, one of them bad, sent as it is: an answer or a dead letter for each.
    file = tmp_path / "events.jsonl"
    file.write_text('{"event_id": "one", "user_id": 1}\n{"age": 300}\n{"event_id": "three"}\n')
    published = marquee(running, "publish", str(file), "--no-validate", "--json")
    assert published.returncode == 0, published.stderr
    assert json.loads(published.stdout)["delivered"] == 3
    seen = marquee(running, "watch", "--json", "--from-beginning", "--dead-letters", "--limit", "5")
    lines = [json.loads(line) for line in seen.stdout.splitlines()]
    assert sorted(line["reason"] for line in lines if "reason" in line) == ["invalid"]
    assert {"one", "three"} <= {line["event_id"] for line in lines if "event_id" in line}

    # An invalid event ends the wait at once, with the reason of its dead letter.
    with pytest.raises(MarqueeError, match="dead letter, invalid: age"):
        ask(running, b'{"age": 300}', 60, cause_of_silence)

    status = marquee(running, "status", "--json")
    state = json.loads(status.stdout)
    assert status.returncode == 0, state["parts"]
    assert state["active"]["release"] == release
    assert state["releases"][0]["served_by"]
    assert {group["group"]: group["lag"] for group in state["groups"]} == {
        running.names.worker_group: 0,
        running.names.indexer_group: 0,
    }


def test_publish_stops_before_a_line_that_is_no_event(deployment: Settings) -> None:
    published = marquee(deployment, "publish", "-", text='{"k": 5}\n{"age": 300}\n{"k": 6}\n')
    assert published.returncode == 1
    assert "standard input:2 is no profile event: age" in published.stderr
    assert "1 of 1 events delivered" in published.stderr


def test_the_error_without_a_result_names_the_cause(deployment: Settings) -> None:
    # Also how long Kafka may take to be reached: on a busy machine that is seconds.
    asked = marquee(deployment, "recommend", "-a", "6", "--timeout", "10")
    assert asked.returncode == 1, asked.stderr
    assert "no release is active" in asked.stderr
    assert "no worker is alive" in asked.stderr
    assert "1 events wait for the workers" in asked.stderr


def test_status_of_a_system_without_workers_is_not_healthy(deployment: Settings) -> None:
    activate(deployment)
    marquee(deployment, "publish", "-", text="{}\n" * 7)
    status = marquee(deployment, "status", "--json")
    assert status.returncode == 1
    state = json.loads(status.stdout)
    problems = {part["part"] for part in state["parts"] if part["problem"]}
    assert problems == {"workers", "indexer"}
    assert state["groups"][0]["lag"] == 7


@pytest.mark.parametrize("command", [["status"], ["recommend"], ["watch"], ["publish", "-"], ["verify"]])
def test_kafka_out_of_reach_is_one_sentence_and_exit_code_2(deployment: Settings, command: list[str]) -> None:
    nowhere = ["--bootstrap-servers", "127.0.0.1:9", "--timeout", "1"]
    done = marquee(deployment, *command, *nowhere, text="{}\n")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "127.0.0.1:9" in done.stderr


def test_verify_sees_two_movies_exchanged(deployment: Settings) -> None:
    active = activate(deployment)
    assert marquee(deployment, "verify").stdout == "294/294\n"
    _serve_exchanged(deployment, active)

    done = marquee(deployment, "verify", "--json")

    assert done.returncode == 1
    shown = json.loads(done.stdout)
    assert shown["equal"] == 294 - len(shown["differences"])
    assert shown["differences"]


def _serve_exchanged(settings: Settings, active: ActiveRecord) -> None:
    """Another collection of the release, in which the first profile's best and worst movie stand for each other."""
    from ops.offline.verify import paddle_scores, profiles

    release = ReleaseStore(settings.store).load(active.release)
    catalogue = release.catalogue
    vectors = release.embed_movies(0, len(catalogue))
    scores = paddle_scores(release, release.embed_profiles(profiles()[:1]))[0]
    best, worst = int(np.argmax(scores)), int(np.argmin(scores))
    vectors[[best, worst]] = vectors[[worst, best]]
    collection = settings.names.collection(active.release, 2)
    milvus = Milvus(settings.milvus)
    milvus.create(collection, release.manifest.dimension)
    milvus.insert(collection, catalogue, vectors)
    milvus.finish(collection, release.manifest.metric)
    milvus.close()
    record = active.model_copy(update={"collection": collection, "epoch": 2})
    producer = Producer(clients.producer(settings.kafka))
    producer.produce(settings.names.releases, record.model_dump_json().encode(), ACTIVE_KEY.encode())
    assert producer.flush(30) == 0


def test_watch_ends_cleanly_when_its_reader_does(deployment: Settings) -> None:
    partitions = range(deployment.kafka.partitions)
    StubWorker(deployment).answer(
        *((partition, offset) for partition in partitions for offset in range(1_500))
    )
    command = [sys.executable, "-m", "ops", "watch", "--json", "--from-beginning"]
    watching = subprocess.Popen(
        command, env=environment_of(deployment), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert watching.stdout is not None and watching.stderr is not None
    try:
        assert json.loads(watching.stdout.readline())["event_id"] == "a"
        watching.stdout.close()
        assert watching.wait(60) == 0
        assert watching.stderr.read() == b""
    finally:
        watching.kill()
        watching.stderr.close()


def test_watch_draws_a_table(deployment: Settings) -> None:
    StubWorker(deployment).answer((3, 1))
    done = marquee(deployment, "watch", "--from-beginning", "--limit", "1")
    assert done.returncode == 0, done.stderr
    assert "Yojimbo (1961)" in done.stdout

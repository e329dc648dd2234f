"""Headers that are not UTF-8, and records of others, in every topic: no process of ours ends, and every event is answered."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.endings import DeadLetter, EndingReader, Result
from producer.reader import read_to_end
from schemas.headers import headers_of
from schemas.settings import Settings
from tests.faults.raw import Pairs, RawProducer
from tests.faults.reading import outcome_of
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, marquee, wait_for
from worker.stream.ends import AnsweredReader

SECONDS = 60.0
HOLED: Pairs = [(b"caf\xe9", b"1"), (b"trace", b"\xff"), (b"none", None), (b"\xff\xfe", None)]
READ = [("trace", b"\xff"), ("none", None)]
FOREIGN = [
    b"{",
    b"[]",
    b'"text"',
    b"[" * 5_000,
    b'{"source": {"topic": "t", "partition": 0, "offset": "x"}}',
    None,
]


@pytest.fixture
def deployment(lite_settings: Settings, fusion_store: str) -> Settings:
    settings = lite_settings.model_copy(update={"store": fusion_store})
    activate(settings)
    return settings


@pytest.fixture
def raw(deployment: Settings) -> Iterator[RawProducer]:
    producer = RawProducer({"bootstrap.servers": deployment.kafka.bootstrap_servers})
    yield producer
    producer.close()


def put(raw: RawProducer, topic: str, *values: bytes | None, headers: Pairs = HOLED) -> None:
    errors: list[str | None] = []
    for value in values:
        raw.produce(
            topic, value, b"7", headers, partition=0, on_delivery=lambda error, *_: errors.append(error)
        )
    assert raw.flush(SECONDS) == 0
    assert errors == [None] * len(values)


def outcomes(settings: Settings, count: int) -> list[Result | DeadLetter]:
    found: list[Result | DeadLetter] = []
    with EndingReader(settings, start="beginning") as reader:

        def enough() -> bool:
            found.extend(reader.endings(0.2))
            return len(found) >= count

        wait_for(f"{count} outcomes", enough, SECONDS)
    return found


def foreign(settings: Settings) -> list[bytes | None]:
    """Records that are no results, one of them so nearly that it names a place without an offset."""
    nearly = {"source": {"topic": settings.names.profiles, "partition": 0, "offset": "x"}}
    return [*FOREIGN, json.dumps(nearly).encode()]


def test_every_event_is_answered_whatever_its_headers_are_called(
    deployment: Settings, raw: RawProducer, tmp_path: Path
) -> None:
    names = deployment.names
    put(raw, names.profiles, *[b'{"user_id": 1}', b"not json"] * 20)
    put(raw, names.profiles, b'{"user_id": 2}', headers=[])

    with Process("worker", deployment, tmp_path) as worker:
        found = outcomes(deployment, 41)
        worker.wait_ready()
        assert worker.metric("marquee_unreadable_headers_total") == 80
        assert worker.stop() == 0

    assert sorted(outcome.source[1] for outcome in found) == list(range(41))
    assert sum(isinstance(outcome, Result) for outcome in found) == 21
    for topic in (names.recommendations, names.dead_letters):
        copied = [headers_of(message) for message in read_to_end(deployment, topic, timeout_s=SECONDS)]
        assert all(headers[:2] == READ for headers in copied if headers)
        assert sum(not headers for headers in copied) == (topic == names.recommendations)


def test_a_worker_goes_on_behind_records_of_others_in_its_topics(
    deployment: Settings, raw: RawProducer, tmp_path: Path
) -> None:
    names = deployment.names
    put(raw, names.profiles, b'{"user_id": 1}')
    with Process("worker", deployment, tmp_path) as worker:
        outcomes(deployment, 1)
        assert worker.stop() == 0
    for topic in (names.recommendations, names.dead_letters):
        put(raw, topic, *foreign(deployment))
    put(raw, names.profiles, b'{"user_id": 2}')

    answered = AnsweredReader(deployment)
    assert answered.look([0], SECONDS).last[0].offset == 0
    answered.close()
    with Process("worker", deployment, tmp_path) as worker:
        assert [outcome.source for outcome in outcomes(deployment, 2)] == [(0, 0), (0, 1)]
        assert worker.stop() == 0
    kinds = [
        outcome_of(message, names.dead_letters).source is None
        for topic in (names.recommendations, names.dead_letters)
        for message in read_to_end(deployment, topic, timeout_s=SECONDS)
    ]
    assert kinds.count(True) == 2 * len(foreign(deployment))
    assert kinds.count(False) == 2


def test_the_outcomes_worker_joins_behind_them(
    deployment: Settings, raw: RawProducer, tmp_path: Path
) -> None:
    names = deployment.names
    put(raw, names.profiles, b'{"event_id": "e", "user_id": 1}')
    with Process("worker", deployment, tmp_path) as worker:
        (result,) = outcomes(deployment, 1)
        assert isinstance(result, Result)
        assert worker.stop() == 0
    elsewhere = json.loads(result.value)
    elsewhere["source"] |= {"partition": 999, "offset": 1 << 40}
    put(raw, names.recommendations, *foreign(deployment), json.dumps(elsewhere).encode())
    movie = result.recommendation.movies[0].movie_id
    put(
        raw,
        names.feedback,
        b"not json",
        json.dumps({"event_id": "e", "movie_id": movie, "action": "liked"}).encode(),
    )

    with Process("outcomes-worker", deployment, tmp_path) as worker:
        wait_for("feedback", lambda: worker.metric("marquee_outcomes_joined_total") == 1, SECONDS)
        wait_for("a dead letter", lambda: worker.metric("marquee_outcomes_dead_letters_total") == 1, SECONDS)
        assert worker.metric("marquee_outcomes_unreadable_headers_total") == 2
        assert worker.stop() == 0
    letters = list(read_to_end(deployment, names.dead_letters, timeout_s=SECONDS))
    assert [headers_of(letter)[:2] for letter in letters] == [READ]


def test_readers_and_commands_skip_records_of_others(
    deployment: Settings, raw: RawProducer, tmp_path: Path
) -> None:
    names = deployment.names
    put(raw, names.profiles, b'{"user_id": 1}', b"not json")
    with Process("worker", deployment, tmp_path) as worker:
        outcomes(deployment, 2)
        assert worker.stop() == 0
    for topic in (names.recommendations, names.dead_letters):
        put(raw, topic, *foreign(deployment))
    put(raw, names.profiles, b'{"user_id": 2}')
    with Process("worker", deployment, tmp_path) as worker:
        found = [outcome for outcome in outcomes(deployment, 3) if isinstance(outcome, Result)]
        assert worker.stop() == 0

    lines = marquee(deployment, "watch", "--from-beginning", "--dead-letters", "--limit", "3", "--json")
    assert (lines.returncode, len(lines.stdout.splitlines())) == (0, 3)
    table = marquee(deployment, "watch", "--from-beginning", "--limit", "2")
    assert (table.returncode, "2 since the start" in table.stdout) == (0, True)
    assert "skipped" in table.stderr
    listed = marquee(deployment, "dead-letters", "list", "--json")
    assert [json.loads(line)["reason"] for line in listed.stdout.splitlines()] == ["not_json"]
    shown = marquee(deployment, "dead-letters", "show", json.loads(listed.stdout)["place"], "--json")
    assert json.loads(shown.stdout)["headers"] == [["trace", "\\xff"], ["none", None]]
    assert marquee(deployment, "dead-letters", "redrive", "--all").returncode == 0
    events = [headers_of(message) for message in read_to_end(deployment, names.profiles, timeout_s=SECONDS)]
    assert events == [READ] * 4
    out, release = tmp_path / "replayed.jsonl", found[0].recommendation.release
    replayed = marquee(
        deployment, "replay", "--release", release, "--from", "beginning", "--to", "end", "--out", str(out)
    )
    assert replayed.returncode == 0, replayed.stderr

"""Outcomes workers meet records that a topic refuses and records that are forged: they wait or continue, and count nothing twice."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from producer.endings import DeadLetter, EndingReader
from producer.outcomes import outcomes
from schemas import kafka
from schemas.feedback import OutcomesRecord, UnreadableOutcomesError, outcomes_key
from schemas.settings import Settings
from tests.integration.test_outcomes import People, counted
from tests.testbed.processes import Process, wait_for
from worker.kafka.topics import ensure_topics
from worker.outcomes.segments import UNKNOWN, Segments

LARGE = b"{" + random.Random(1).randbytes(20_000)  # no codec makes it smaller
SMALL = b"{"


@pytest.fixture
def settings(kafka_settings: Settings) -> Settings:
    ensure_topics(kafka_settings, 30)
    return kafka_settings


def set_limit(settings: Settings, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(kafka.admin(settings.kafka))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def send(settings: Settings, topic: str, *records: tuple[bytes | None, bytes], **more: Any) -> None:
    producer = Producer(kafka.producer(settings.kafka))
    for key, value in records:
        producer.produce(topic, value, key, **more)
    assert producer.flush(30) == 0


def letters_of(settings: Settings, count: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []

    def enough() -> bool:
        found.extend(outcome for outcome in reader.endings(0.1) if isinstance(outcome, DeadLetter))
        return len(found) >= count

    with EndingReader(settings, start="beginning") as reader:
        wait_for("the dead letters", enough)
        for _ in range(5):
            enough()
    return found


def test_a_refused_dead_letter_goes_without_its_value(settings: Settings, tmp_path: Path) -> None:
    people = People(settings, seed=8)
    with Process("outcomes-worker", settings, tmp_path) as worker:
        worker.wait_ready()
        set_limit(settings, settings.names.dead_letters, 5_000)
        send(settings, settings.names.feedback, (b"a", SMALL), (b"b", LARGE), (b"c", SMALL))
        people.live(20)
        wait_for("the counts", lambda: counted(settings) == people.right)
        letters = letters_of(settings, 3)

        assert sorted((letter.value or b"") for letter in letters) == [b"", SMALL, SMALL]
        assert worker.readiness()["problems"] == {}
        assert worker.output.count("rejoining the group") == 0


def test_a_dead_letter_that_the_topic_refuses_without_its_value_waits_for_the_operator(
    settings: Settings, tmp_path: Path
) -> None:
    with Process("outcomes-worker", settings, tmp_path) as worker:
        worker.wait_ready()
        set_limit(settings, settings.names.dead_letters, 5_000)
        send(settings, settings.names.feedback, (LARGE, SMALL))
        said = wait_for("the problem", lambda: worker.readiness().get("problems", {}).get("outcomes"))
        assert f"raise max.message.bytes of {settings.names.dead_letters}" in said

        set_limit(settings, settings.names.dead_letters, 1_000_000)
        wait_for("its readiness", lambda: not worker.readiness()["problems"])
        assert [letter.value for letter in letters_of(settings, 1)] == [SMALL]


def test_an_unreadable_count_stops_the_counting_until_it_is_replaced(
    settings: Settings, tmp_path: Path
) -> None:
    topic = settings.names.outcomes
    people = People(settings, seed=9)
    people.live(20)
    with Process("outcomes-worker", settings, tmp_path) as first:
        wait_for("the counts", lambda: counted(settings) == people.right)
        assert first.stop() == 0
    (record,) = list(outcomes(settings, None, 30))[:1]
    key = outcomes_key(record.since, record.release, record.segment).encode()
    written = record.model_dump()
    send(settings, topic, (b"another's", b"?"), (b"yet another's", b"?"), partition=0)
    send(settings, topic, (key, json.dumps({"format": 2, "ranks": "?"}).encode()), partition=0)
    people.live(20)

    with Process("outcomes-worker", settings, tmp_path) as worker:
        said = wait_for("the problem", lambda: worker.readiness().get("problems", {}).get("outcomes"))
        assert topic in said and "format 2" in said and "upgrade Marquee" in said
        with pytest.raises(UnreadableOutcomesError, match="format 2"):
            list(outcomes(settings, None, 30))

        send(settings, topic, (key, OutcomesRecord(**written).model_dump_json().encode()), partition=0)
        wait_for("the counts", lambda: counted(settings) == people.right)
        assert worker.output.count("record with a foreign key") == 1


def test_results_at_offsets_without_an_event_get_no_segment_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.outcomes.segments._FAR", 50)
    event = json.dumps({"gender": "F", "age": 30}).encode()
    send(settings, settings.names.profiles, *((None, event) for _ in range(300)), partition=0)
    segments = Segments(settings)
    try:
        # Given the partition is read to its end, then beyond it, before, within and far ahead
        assert segments.of([(0, 299)]) == ["F 25-34"]
        assert segments.of([(0, 10**12)]) == [UNKNOWN]
        assert segments.of([(0, 300), (0, 2**63 - 1)]) == [UNKNOWN, UNKNOWN]
        places = [(0, 1), (0, 2), (0, 290), (0, 10**12), (0, 3), (0, 4), (1, 7)]
        assert segments.of(places) == ["F 25-34"] * 3 + [UNKNOWN] + ["F 25-34"] * 2 + [UNKNOWN]
        send(settings, settings.names.profiles, (None, event), partition=0)
        assert segments.of([(0, 300)]) == ["F 25-34"]
    finally:
        segments.close()


def test_a_forged_result_delays_no_counts(settings: Settings, tmp_path: Path) -> None:
    forged: dict[str, object] = {
        "event_id": "forged", "user_id": None, "movies": [], "release": "r", "collection": "c", "retrieval": "milvus",
    }  # fmt: skip
    for offset in (10**6, 10**30, -1):
        source = {"topic": settings.names.profiles, "partition": 0, "offset": offset}
        value = json.dumps(forged | {"source": source}).encode()
        send(settings, settings.names.recommendations, (None, value), partition=0)
    people = People(settings, seed=10)
    people.live(20)

    with Process("outcomes-worker", settings, tmp_path) as worker:
        wait_for(
            "the counts",
            lambda: counted(settings)["rank"] == people.right["rank"],
        )
        assert worker.output.count("a result of an event at no offset") == 2
        assert "rejoining the group" not in worker.output

"""Topics that are deleted and made anew while others hold offsets of the old ones."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]

from schemas import kafka as clients
from schemas.settings import Settings
from tests.integration.test_outcomes import People, counted
from tests.processes import Process, wait_for
from worker.segments import UNKNOWN, Segments
from worker.topic_ids import topic_ids
from worker.topics import ensure_topics


@pytest.fixture
def settings(kafka_settings: Settings) -> Settings:
    ensure_topics(kafka_settings, 30)
    return kafka_settings


def make_anew(settings: Settings, topic: str) -> None:
    before = topic_ids(settings, [topic], 30)
    admin = AdminClient(clients.admin(settings.kafka))
    admin.delete_topics([topic])[topic].result()

    def is_gone() -> bool:
        return topic not in admin.list_topics(timeout=30).topics

    wait_for("its end", is_gone)
    ensure_topics(settings, 30)
    assert topic_ids(settings, [topic], 30) != before


def publish(settings: Settings, values: list[bytes], partition: int, at_ms: int = 0) -> None:
    producer = Producer(clients.producer(settings.kafka))
    for value in values:
        producer.produce(settings.names.profiles, value, partition=partition, timestamp=at_ms)
    assert producer.flush(30) == 0


@pytest.fixture
def segments(settings: Settings) -> Iterator[Segments]:
    segments = Segments(settings)
    yield segments
    segments.close()


def test_the_event_of_an_old_topic_has_no_segment_and_keeps_no_other_from_its_own(
    settings: Settings, segments: Segments
) -> None:
    # Given a topic with three events in partition 0
    publish(settings, [b'{"gender":"F","age":30}'] * 3, 0)
    # When results of a topic that was larger are asked for, and then those of this one
    places = [(0, 1), (0, 1_000), (1, 7), (99, 5), (0, 0), (0, 1), (0, 2)]
    # Then only these have segments
    female = "F 25-34"
    assert segments.of(places) == [female, UNKNOWN, UNKNOWN, UNKNOWN, female, female, female]
    # And what comes later has one
    publish(settings, [b'{"gender":"M","age":30}'], 0)
    assert segments.of([(0, 3)]) == ["M 25-34"]


@pytest.mark.parametrize("topic", ["recommendations", "feedback"])
def test_an_outcomes_worker_counts_a_topic_that_was_made_anew_from_its_beginning(
    topic: str, settings: Settings, tmp_path: Path
) -> None:
    # Given an outcomes worker that has counted
    people = People(settings, seed=5)
    people.live(200)
    with Process("outcomes-worker", settings, tmp_path) as worker:
        wait_for("the counts", lambda: counted(settings) == people.right)
        assert worker.stop() == 0
    # When one of its topics is made anew, and filled past where it was read to
    make_anew(settings, getattr(settings.names, topic))
    people.live(600)
    # Then all that came is counted, once
    with Process("outcomes-worker", settings, tmp_path) as worker:
        wait_for("the counts", lambda: counted(settings) == people.right)
        time.sleep(2)
        assert counted(settings) == people.right
        assert "was made anew" in worker.output

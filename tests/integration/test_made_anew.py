"""Topics that are deleted and made anew while others hold offsets of the old ones."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from producer.endings import EndingReader
from schemas import kafka as clients
from schemas.settings import Settings
from tests.integration.test_outcomes import People, counted
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for
from worker.kafka.admin import topic_ids
from worker.kafka.reader import read_releases
from worker.kafka.topics import ensure_topics
from worker.outcomes.segments import UNKNOWN, Segments


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
        assert "was recreated" in worker.output


NOW_MS = int(time.time() * 1_000)
OLD_MS, FUTURE_MS = NOW_MS - 86_400_000, NOW_MS + 1_800_000


@pytest.fixture
def served(lite_settings: Settings, fusion_store: str) -> Settings:
    few = lite_settings.kafka.model_copy(update={"partitions": 2})
    settings = lite_settings.model_copy(update={"store": fusion_store, "kafka": few})
    activate(settings)
    return settings


def sources(settings: Settings, count: int) -> list[tuple[int, int]]:
    def read() -> list[tuple[int, int]]:
        with EndingReader(settings, start="beginning") as reader:
            return [outcome.source for _ in range(8) for outcome in reader.endings(0.2)]

    wait_for(f"{count} outcomes", lambda: len(read()) >= count, 90)
    return sorted(read())


def answer_three(settings: Settings, tmp_path: Path, at_ms: int) -> None:
    """A worker answers three events of partition 1, and stops."""
    publish(settings, [b"{}"] * 3, 1, at_ms)
    with Process("worker", settings, tmp_path) as worker:
        assert sources(settings, 3) == [(1, 0), (1, 1), (1, 2)]
        assert worker.stop() == 0


@pytest.mark.parametrize("at_ms", [OLD_MS, FUTURE_MS], ids=["archive", "future"])
def test_profiles_that_were_made_anew_are_read_from_their_beginning(
    at_ms: int, served: Settings, tmp_path: Path
) -> None:
    # Given a group that has answered three events, and a topic made anew with more, whatever their timestamps are
    answer_three(served, tmp_path, at_ms)
    make_anew(served, served.names.profiles)
    publish(served, [b"{}"] * 5, 1, at_ms)
    # When a worker begins
    with Process("worker", served, tmp_path) as worker:
        # Then all of the new topic is answered, once
        right = sorted([(1, n) for n in range(3)] + [(1, n) for n in range(5)])
        assert sources(served, 8) == right
        assert "was deleted and recreated" in worker.output
        # And when it is made anew while the worker runs, too
        make_anew(served, served.names.profiles)
        publish(served, [b"{}"] * 2, 1, at_ms)
        assert sources(served, 10) == sorted([*right, (1, 0), (1, 1)])


def test_a_group_that_lost_its_offsets_goes_on_after_its_answers_whatever_the_timestamps_are(
    served: Settings, tmp_path: Path
) -> None:
    answer_three(served, tmp_path, FUTURE_MS)
    admin = AdminClient(clients.admin(served.kafka))
    group = served.names.worker_group
    admin.delete_consumer_groups([group])[group].result()
    publish(served, [b"{}"], 1)

    with Process("worker", served, tmp_path):
        assert sources(served, 4) == [(1, 0), (1, 1), (1, 2), (1, 3)]


def test_recommendations_that_were_made_anew_do_not_move_the_positions(
    served: Settings, tmp_path: Path
) -> None:
    answer_three(served, tmp_path, OLD_MS)
    before = read_releases(served, 30).topics[served.names.profiles]
    make_anew(served, served.names.recommendations)
    publish(served, [b"{}"], 1)

    with Process("worker", served, tmp_path):
        assert sources(served, 1) == [(1, 3)]
        wait_for(
            "the record",
            lambda: read_releases(served, 30).topics[served.names.profiles].answers != before.answers,
        )

"""Topics that change under an outcomes worker that runs: partitions are added, and dead letters are deleted and recreated."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from producer.endings import DeadLetter, EndingReader
from schemas import kafka
from schemas.settings import Settings
from tests.integration.test_made_anew import make_anew
from tests.integration.test_outcomes import People, counted
from tests.integration.test_topic_settings import grow
from tests.testbed.processes import wait_for
from worker.kafka.topics import ensure_topics
from worker.monitoring.http import Health
from worker.monitoring.outcomes_metrics import OutcomesMetrics
from worker.outcomes.loop import Outcomes
from worker.process import Stopping


@pytest.fixture
def settings(kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of outcomes workers that check their topics once a second."""
    monkeypatch.setattr("worker.outcomes.loop._TOPICS_SECONDS", 1.0)
    ensure_topics(kafka_settings, 30)
    return kafka_settings


@contextmanager
def outcomes_worker(settings: Settings) -> Iterator[Health]:
    health, stopping = Health(), Stopping()
    worker = Outcomes(settings, health, OutcomesMetrics(CollectorRegistry()), stopping)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield health
    finally:
        stopping.set()
        thread.join(60)
    assert not thread.is_alive()


def test_feedback_in_partitions_that_were_added_counts_once(settings: Settings) -> None:
    # Given an outcomes worker that counts
    people = People(settings, seed=11)
    people.live(50)
    with outcomes_worker(settings):
        wait_for("the counts", lambda: counted(settings) == people.right)
        # When feedback gets partitions, and records in them
        grow(settings, settings.names.feedback, 14)
        people.live(100)
        # Then every pair counts once
        wait_for("the counts of the new partitions", lambda: counted(settings) == people.right)


def test_invalid_feedback_goes_to_dead_letters_that_were_recreated(settings: Settings) -> None:
    people = People(settings, seed=12)
    with outcomes_worker(settings) as health:
        send_invalid(settings, b"{1")
        assert dead_letters(settings, b"{1") == [b"{1"]
        # When the topic is recreated while the worker runs
        make_anew(settings, settings.names.dead_letters)
        send_invalid(settings, b"{2")
        people.live(20)
        # Then the next dead letter is in the new topic, and the counts go on
        assert dead_letters(settings, b"{2") == [b"{2"]
        wait_for("the counts", lambda: counted(settings) == people.right)
        wait_for("readiness", lambda: health.problems == {})


def send_invalid(settings: Settings, value: bytes) -> None:
    producer = Producer(kafka.producer(settings.kafka))
    producer.produce(settings.names.feedback, value, b"key")
    assert producer.flush(30) == 0


def dead_letters(settings: Settings, last: bytes) -> list[bytes | None]:
    """All dead letters, up to the last one."""
    found: list[bytes | None] = []

    def arrived() -> bool:
        found.extend(one.value for one in reader.endings(0.2) if isinstance(one, DeadLetter))
        return last in found

    with EndingReader(settings, start="beginning") as reader:
        wait_for("the dead letter", arrived)
    return found

"""Batches that the Kafka client cannot decode, on a real broker: compressed records that are far larger than they look."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from producer.endings import DeadLetter, Ending, EndingReader, Result
from schemas import kafka
from schemas.dead_letter import Reason
from schemas.settings import Settings
from tests.integration.stub_worker import StubWorker
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for
from worker.kafka.topics import ensure_topics
from worker.stream import unreadable
from worker.stream.unreadable import BatchReading

BOMB = bytes(90_000_000)  # 2.8 KB in zstd


@pytest.fixture
def lite_settings(lite_settings: Settings, fusion_store: str) -> Settings:
    return lite_settings.model_copy(update={"store": fusion_store})


def one_partition(settings: Settings, topic: str) -> None:
    client = AdminClient(kafka.admin(settings.kafka))
    for future in client.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()


def publish_batch(settings: Settings, topic: str, values: Sequence[bytes]) -> None:
    """All values in one compressed batch of partition 0, which goes with the flush."""
    producer = Producer(
        kafka.producer(settings.kafka)
        | {"compression.type": "zstd", "batch.size": 1_000_000_000, "linger.ms": 60_000}
    )
    for number, value in enumerate(values):
        headers: list[tuple[str, str | bytes | None]] = [("traceparent", b"t")]
        producer.produce(topic, value, str(number).encode(), 0, headers=headers)
    assert producer.flush(60) == 0


def event(user: int) -> bytes:
    return json.dumps({"user_id": user}).encode()


def endings_of(settings: Settings, count: int) -> list[Ending]:
    found: list[Ending] = []
    with EndingReader(settings, start="beginning") as reader:

        def enough() -> bool:
            found.extend(reader.endings(0.2))
            return len(found) >= count

        wait_for(f"{count} outcomes", enough, 90.0)
    return sorted(found, key=lambda outcome: outcome.source)


def test_a_batch_beyond_the_limits_of_the_client_is_read_aside(
    lite_settings: Settings, tmp_path: Path
) -> None:
    # Given a batch with events around a record of 90 MB, a good batch, and a record of 90 MB alone
    profiles = lite_settings.names.profiles
    one_partition(lite_settings, profiles)
    activate(lite_settings)
    publish_batch(lite_settings, profiles, [event(1)])
    publish_batch(lite_settings, profiles, [event(2), BOMB, event(3)])
    publish_batch(lite_settings, profiles, [event(4)])
    publish_batch(lite_settings, profiles, [BOMB])
    publish_batch(lite_settings, profiles, [event(5)])
    # When a worker reads them
    with Process("worker", lite_settings, tmp_path) as worker:
        found = endings_of(lite_settings, 7)
        worker.wait_ready()
        # Then every event ends once, in order, and the large ones as dead letters that name their size
        assert [outcome.source for outcome in found] == [(0, offset) for offset in range(7)]
        letters = {o.source[1]: o for o in found if isinstance(o, DeadLetter)}
        assert {offset: letter.reason for offset, letter in letters.items()} == {
            2: "too_large",
            5: "too_large",
        }
        assert [o.recommendation.user_id for o in found if isinstance(o, Result)] == [1, 2, 3, 4, 5]
        assert str(len(BOMB)) in letters[2].error
        assert letters[2].value is None
        assert worker.metric("marquee_batches_read_aside_total") in {1, 2}  # one may read on into the other
        # And a compacted topic that cannot be followed any more is named
        publish_batch(lite_settings, lite_settings.names.releases, [BOMB])
        wait_for("its name", lambda: "cannot be decoded" in str(worker.readiness()))
        assert worker.stop() == 0


def test_a_batch_that_takes_all_memory_becomes_dead_letters_of_its_offsets_alone(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch that needs more memory than the child process may take
    monkeypatch.setattr(unreadable, "MEMORY_BYTES", 600 * 1024**2)
    profiles = kafka_settings.names.profiles
    one_partition(kafka_settings, profiles)
    publish_batch(kafka_settings, profiles, [event(1)])
    publish_batch(kafka_settings, profiles, [event(2), *[BOMB] * 5, event(3)])
    publish_batch(kafka_settings, profiles, [event(4)])
    # When it is read aside, from its beginning and from within
    for position in (1, 4):
        reading = BatchReading(kafka_settings, (profiles, 0), position, 1)
        reading.wait(60.0)
        # Then its offsets from there on cannot be read, and the next one is left to the client
        assert reading.found is not None, reading.problem
        assert [e.offset() for e in reading.found.events] == list(range(position, 8))
        assert {e.rejection and e.rejection.reason for e in reading.found.events} == {Reason.UNREADABLE}
        assert {(e.key(), e.value()) for e in reading.found.events} == {(None, None)}
        assert reading.found.next_offset == 8


def test_a_child_that_cannot_reach_kafka_makes_no_dead_letter(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "_READ_SECONDS", 2.0)
    nowhere = kafka_settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    reading = BatchReading(kafka_settings.model_copy(update={"kafka": nowhere}), ("profiles", 0), 0, 0)
    reading.wait(60.0)
    assert reading.found is None
    assert reading.problem


def test_outcomes_skip_a_batch_that_cannot_be_decoded(kafka_settings: Settings, tmp_path: Path) -> None:
    ensure_topics(kafka_settings, 30.0)
    feedback = kafka_settings.names.feedback
    unmatched = json.dumps({"event_id": "e", "movie_id": 1, "action": "clicked"}).encode()
    publish_batch(kafka_settings, feedback, [unmatched])
    publish_batch(kafka_settings, feedback, [BOMB, unmatched])
    publish_batch(kafka_settings, feedback, [b"{"])
    # And such a batch among the events, with a recommendation that answers one behind it
    publish_batch(kafka_settings, kafka_settings.names.profiles, [event(1)])
    publish_batch(kafka_settings, kafka_settings.names.profiles, [BOMB])
    publish_batch(kafka_settings, kafka_settings.names.profiles, [event(1)])
    StubWorker(kafka_settings).answer((0, 0), (0, 2))
    # When an outcomes worker reads them, and another after it
    for number in range(2):
        with Process("outcomes-worker", kafka_settings, tmp_path) as worker:
            worker.wait_ready()
            if number == 0:
                wait_for("what is behind", lambda: worker.metric("marquee_outcomes_dead_letters_total") == 1)
                wait_for("the recommendation", lambda: worker.metric("marquee_outcomes_remembered") == 1)
                wait_for("its commit", lambda: worker.metric("marquee_outcomes_undecodable_total") == 2)
            wait_for("its work", lambda: worker.metric("marquee_outcomes_working") == 1)
            assert worker.stop() == 0

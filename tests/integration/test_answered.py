"""The last answered events, read from the ends of real output topics."""

import json
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException, Message, Producer, TopicPartition

from schemas import kafka
from schemas.settings import Settings
from tests.testbed.kafka import retention_takes
from tests.testbed.processes import wait_for
from worker.kafka.topics import ensure_topics
from worker.stream.ends import Answered, AnsweredReader

PARTITION = 2
SECONDS = 30.0


@pytest.fixture
def settings(kafka_settings: Settings) -> Settings:
    ensure_topics(kafka_settings, SECONDS)
    return kafka_settings


@pytest.fixture
def reader(settings: Settings) -> Iterator[AnsweredReader]:
    reader = AnsweredReader(settings)
    yield reader
    reader.close()


@pytest.fixture
def producer(settings: Settings) -> Producer:
    producer = Producer(kafka.transactional_producer(settings.kafka, f"{settings.prefix}tests", 60_000))
    producer.init_transactions(SECONDS)
    return producer


def answer(producer: Producer, settings: Settings, offset: int, *, dead: bool = False) -> None:
    names = settings.names
    if dead:
        headers: list[tuple[str, str | bytes | None]] = [
            ("marquee.source", f"{names.profiles}-{PARTITION}-{offset}")
        ]
        producer.produce(names.dead_letters, b"?", b"k", PARTITION, headers=headers)
    else:
        source = {"topic": names.profiles, "partition": PARTITION, "offset": offset}
        producer.produce(names.recommendations, json.dumps({"source": source}), b"k", PARTITION)


def last(reader: AnsweredReader) -> int | None:
    found = reader.look([0, PARTITION], SECONDS).last
    assert 0 not in found
    return found[PARTITION].offset if found else None


def test_the_last_answer_of_both_kinds_counts_once_it_is_committed(
    settings: Settings, reader: AnsweredReader, producer: Producer
) -> None:
    assert last(reader) is None

    producer.begin_transaction()
    answer(producer, settings, 3)
    answer(producer, settings, 4, dead=True)
    producer.flush(SECONDS)
    assert last(reader) is None
    producer.commit_transaction(SECONDS)
    wait_for("the answers", lambda: last(reader) == 4)  # a commit returns a little earlier

    producer.begin_transaction()
    answer(producer, settings, 5)
    producer.commit_transaction(SECONDS)
    wait_for("the next", lambda: last(reader) == 5)


def test_it_is_found_behind_what_was_aborted(
    settings: Settings, reader: AnsweredReader, producer: Producer
) -> None:
    producer.begin_transaction()
    answer(producer, settings, 7)
    producer.commit_transaction(SECONDS)
    for _ in range(20):
        producer.begin_transaction()
        answer(producer, settings, 8)
        producer.flush(SECONDS)
        producer.abort_transaction(SECONDS)

    assert last(reader) == 7


@pytest.mark.parametrize("letters", [20, 600])
def test_a_dead_letter_is_found_behind_those_of_feedback(
    letters: int, settings: Settings, reader: AnsweredReader, producer: Producer
) -> None:
    producer.begin_transaction()
    answer(producer, settings, 30)
    answer(producer, settings, 41, dead=True)
    producer.commit_transaction(SECONDS)
    wait_for("the answers", lambda: last(reader) == 41)

    producer.begin_transaction()
    headers: list[tuple[str, str | bytes | None]] = [("marquee.source", f"{settings.names.feedback}-0-7")]
    for _ in range(letters):
        producer.produce(settings.names.dead_letters, b"?", None, PARTITION, headers=headers)
    producer.commit_transaction(SECONDS)

    for _ in range(5):
        assert last(reader) == 41


def test_a_partition_that_a_topic_of_answers_does_not_have_keeps_no_other_from_being_read(
    settings: Settings, reader: AnsweredReader, producer: Producer
) -> None:
    producer.begin_transaction()
    answer(producer, settings, 7)
    producer.commit_transaction(SECONDS)
    wait_for("the answer", lambda: last(reader) == 7)

    reading = reader.look([PARTITION, settings.kafka.partitions], SECONDS)

    assert reading.last[PARTITION].offset == 7
    assert reading.missing.keys() == {settings.kafka.partitions}
    assert not reading.unread


def test_an_answer_of_a_topic_that_was_made_anew_is_told_from_one_of_this(
    settings: Settings, reader: AnsweredReader
) -> None:
    places: list[tuple[int | None, int]] = []

    def delivered(_: object, message: Message) -> None:
        places.append((message.offset(), message.timestamp()[1]))

    producer = Producer(kafka.producer(settings.kafka))
    for _ in range(3):
        producer.produce(settings.names.profiles, b"{}", b"k", PARTITION, on_delivery=delivered)
    assert producer.flush(SECONDS) == 0
    made_at = places[1][1]

    def is_of(offset: int, key: bytes | None, at_ms: int) -> bool:
        return reader.is_of(PARTITION, Answered(offset, key, at_ms), SECONDS)

    assert is_of(1, b"k", made_at + 10)
    assert not is_of(1, b"another", made_at + 10)
    assert not is_of(1, b"k", made_at - 3_600_000)  # answered before there was such an event
    assert not is_of(3, b"k", made_at + 10)  # no such event yet

    retention_takes(settings, [TopicPartition(settings.names.profiles, PARTITION, 2)])
    assert is_of(1, b"another", made_at)  # retention removed the event, so its key is unknown
    assert is_of(2, b"k", made_at + 10)


def test_it_does_not_wait_for_ever(settings: Settings) -> None:
    nobody = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    reader = AnsweredReader(settings.model_copy(update={"kafka": nobody}))

    with pytest.raises(KafkaException):
        reader.look([PARTITION], 0.5)

    reader.close()

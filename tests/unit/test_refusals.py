"""A record that `produce` refuses at once is handled as one that a broker refuses."""

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from schemas import kafka
from schemas.settings import Settings, load_settings
from tests.unit.events import PolledEvent
from worker.errors import AbortedError, RefusedError
from worker.events import Answer, Record
from worker.kafka.errors import refusal, refused_at_once
from worker.stream.publisher import Publisher

SECONDS = 30


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setattr(kafka, "MAX_MESSAGE_BYTES", 2_000)
    broker = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1})
    address = ",".join(f"{b.host}:{b.port}" for b in broker.list_topics(timeout=SECONDS).brokers.values())
    yield load_settings(kafka={"bootstrap_servers": address})
    del broker


def answer(value: bytes, partition: int = 0) -> Answer:
    event: Any = PolledEvent(at=("events", 0, 1))
    return Answer(event, Record("results", partition, b"k", value, []))


def test_a_record_larger_than_the_client_takes_is_refused_alone(settings: Settings) -> None:
    consumer = Consumer(kafka.worker_consumer(settings))
    publisher = Publisher(settings, "w", consumer)
    for _ in range(2):  # a producer that was left in a transaction would fail the second time in another way
        with pytest.raises(RefusedError, match="results"):
            publisher.publish([answer(b"small"), answer(b"x" * 3_000)], lambda: True)
    consumer.close()


def test_a_partition_that_is_not_there_is_waited_for_by_name() -> None:
    error = refused_at_once(KafkaError(KafkaError._UNKNOWN_PARTITION), answer(b"").record)
    assert isinstance(error, AbortedError)
    assert "results did not take a record" in str(error)
    assert "add partitions" in str(error)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, "max.message.bytes"),
        (KafkaError.RECORD_LIST_TOO_LARGE, "segment.bytes"),
        (KafkaError.INVALID_RECORD, "cleanup.policy"),
    ],
)
def test_each_refusal_names_the_setting_that_mends_it(code: int, remedy: str) -> None:
    neighbour = KafkaError(KafkaError._INVALID_DIFFERENT_RECORD)
    found = refusal([(neighbour, "other"), (KafkaError(code), "results")])
    assert found is not None
    assert remedy in found.remedy
    assert "results" in str(found)


def test_other_failures_are_no_refusals() -> None:
    assert refusal([(KafkaError(KafkaError._MSG_TIMED_OUT), "results")]) is None

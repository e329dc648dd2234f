"""A producer whose transaction failed is thrown away, and the error names the cause."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import FatalKafkaError
from worker.errors import AbortedError, RefusedError
from worker.events import Record
from worker.kafka import producer as module
from worker.kafka.producer import TransactionalProducer

RECORD = Record("results", 0, b"k", b"{}", [])


class Undelivered:
    """A message of the topic `results`."""

    def topic(self) -> str:
        return "results"


class FakeProducer:
    """A client that fails as the test sets it."""

    made: ClassVar[list["FakeProducer"]] = []
    fail: ClassVar[dict[str, KafkaError]] = {}
    undelivered: KafkaError | None = None

    def __init__(self, config: dict[str, Any]) -> None:
        self.report: Callable[..., None] = config["on_delivery"]
        self.made.append(self)

    def _call(self, name: str) -> None:
        if name in self.fail:
            raise KafkaException(self.fail[name])

    def init_transactions(self, _seconds: float) -> None:
        self._call("init_transactions")

    def begin_transaction(self) -> None:
        self._call("begin_transaction")

    def produce(self, *_: object, **__: object) -> None:
        self._call("produce")

    def poll(self, _seconds: float) -> None:
        if self.undelivered is not None:
            self.report(self.undelivered, Undelivered())

    def commit_transaction(self, _seconds: float) -> None:
        self._call("commit_transaction")


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> TransactionalProducer:
    monkeypatch.setattr(module, "Producer", FakeProducer)
    monkeypatch.setattr(FakeProducer, "made", [])
    monkeypatch.setattr(FakeProducer, "fail", {})
    monkeypatch.setattr(FakeProducer, "undelivered", None)
    producer = TransactionalProducer({})
    producer.start()
    return producer


def publish(producer: TransactionalProducer) -> None:
    with producer.transaction() as transaction:
        transaction.produce([RECORD])


def test_one_producer_serves_one_transaction_after_another(producer: TransactionalProducer) -> None:
    for _ in range(3):
        publish(producer)
        producer.start()
    assert len(FakeProducer.made) == 1


@pytest.mark.parametrize("call", ["begin_transaction", "commit_transaction"])
def test_after_an_abort_the_next_start_makes_another_producer(
    producer: TransactionalProducer, call: str
) -> None:
    FakeProducer.fail = {call: KafkaError(KafkaError._TIMED_OUT, "no answer")}
    with pytest.raises(AbortedError, match=f"{call}: no answer"):
        publish(producer)
    FakeProducer.fail = {}
    producer.start()
    publish(producer)
    assert len(FakeProducer.made) == 2


def test_a_refused_record_is_the_cause_of_a_failed_commit(producer: TransactionalProducer) -> None:
    FakeProducer.fail = {"commit_transaction": KafkaError(KafkaError._INCONSISTENT, "not delivered")}
    FakeProducer.undelivered = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(RefusedError, match="results") as refused:
        publish(producer)
    assert "max.message.bytes" in refused.value.remedy


def test_a_fenced_producer_ends_the_process(producer: TransactionalProducer) -> None:
    FakeProducer.fail = {"commit_transaction": KafkaError(KafkaError._FENCED, "fenced", fatal=True)}
    with pytest.raises(FatalKafkaError, match="fenced"):
        publish(producer)


def test_a_discarded_producer_is_not_thrown_away_twice(producer: TransactionalProducer) -> None:
    """Given a thread that still hangs in a transaction when another producer took over."""
    old = producer.transaction()
    producer.discard()
    producer.start()
    FakeProducer.fail = {"begin_transaction": KafkaError(KafkaError._STATE)}
    with pytest.raises(AbortedError), old:
        pass
    FakeProducer.fail = {}
    publish(producer)
    assert len(FakeProducer.made) == 2

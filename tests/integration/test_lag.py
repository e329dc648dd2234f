"""The lag that Kafka's own tools count is of events: no past of a partition that was emptied, and no transaction marker."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.deployment.overview import overview
from schemas import kafka as clients
from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.kafka import retention_takes
from tests.testbed.processes import Process, wait_for

EMPTIED, REDRIVEN = 0, 2


@pytest.fixture
def settings(lite_settings: Settings, fusion_store: str) -> Settings:
    few = lite_settings.kafka.model_copy(update={"partitions": 3})
    settings = lite_settings.model_copy(update={"store": fusion_store, "kafka": few})
    activate(settings)
    return settings


def publish(settings: Settings, partition: int, count: int) -> None:
    producer = Producer(clients.producer(settings.kafka))
    for _ in range(count):
        producer.produce(settings.names.profiles, b"{}", partition=partition)
    assert producer.flush(30) == 0


def committed(settings: Settings) -> list[int]:
    names = settings.names
    asker = Consumer(clients.reader(settings.kafka, names.worker_group))
    found = asker.committed([TopicPartition(names.profiles, number) for number in range(3)], 30)
    asker.close()
    return [place.offset for place in found]


def lag(settings: Settings) -> dict[int, int]:
    group = settings.names.worker_group
    return next(each.lag for each in overview(settings, 30).groups if each.name == group)


def shown(worker: Process) -> float:
    lines = worker.get("/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("marquee_consumer_lag{"))


def test_lag_is_of_events(settings: Settings, tmp_path: Path) -> None:
    # Given a partition that retention emptied before the group began
    publish(settings, EMPTIED, 5)
    retention_takes(settings, [TopicPartition(settings.names.profiles, EMPTIED, -1)])
    with Process("worker", settings, tmp_path) as worker:
        worker.wait_ready(120)
        # Then where each partition begins is committed at once
        wait_for("the beginnings", lambda: committed(settings) == [5, 0, 0])
        # When an event comes in a transaction, as a redriven letter does
        producer = Producer(clients.transactional_producer(settings.kafka, f"{settings.prefix}t", 60_000))
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(settings.names.profiles, b"{}", partition=REDRIVEN)
        producer.commit_transaction(30)
        # Then its marker is committed past, too
        wait_for("the marker", lambda: committed(settings) == [5, 0, 2])
        assert lag(settings) == {0: 0, 1: 0, 2: 0}
        # And when a transaction stays open, its records count as lag
        producer.begin_transaction()
        producer.produce(settings.names.profiles, b"{}", partition=REDRIVEN)
        producer.flush(30)
        wait_for("what hangs", lambda: shown(worker) == 1.0)
        assert lag(settings) == {0: 0, 1: 0, 2: 1}
        producer.abort_transaction(30)
        wait_for("its end", lambda: committed(settings) == [5, 0, 4])
        wait_for("no lag", lambda: shown(worker) == 0.0)

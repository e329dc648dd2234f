"""`profiles` gets partitions while workers run: all of their events are answered, and old partitions go on meanwhile."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from producer.endings import EndingReader
from schemas import kafka as clients
from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for
from worker.kafka.topics import ensure_topics

BEFORE, AFTER = 3, 5


@pytest.fixture
def settings(lite_settings: Settings, fusion_store: str) -> Settings:
    few = lite_settings.kafka.model_copy(update={"partitions": BEFORE})
    settings = lite_settings.model_copy(update={"store": fusion_store, "kafka": few})
    activate(settings)
    return settings


def grow(settings: Settings) -> None:
    admin = AdminClient(clients.admin(settings.kafka))
    for future in admin.create_partitions([NewPartitions(settings.names.profiles, AFTER)]).values():
        future.result()


def publish(settings: Settings, partitions: range) -> list[tuple[int, int]]:
    sent: list[tuple[int, int]] = []

    def delivered(_: object, message: Message) -> None:
        sent.append((message.partition() or 0, message.offset() or 0))

    producer = Producer(clients.producer(settings.kafka))
    producer.list_topics(settings.names.profiles, timeout=30)
    for partition in partitions:
        for _ in range(5):
            producer.produce(
                settings.names.profiles,
                b"{}",
                partition=partition,
                on_delivery=delivered,
            )
    assert producer.flush(30) == 0
    return sent


def sources(settings: Settings, count: int) -> list[tuple[int, int]]:
    """Of all results, read by a reader that knows of all partitions, once there are so many, and a moment later."""

    def read() -> list[tuple[int, int]]:
        with EndingReader(settings, start="beginning") as reader:
            return [outcome.source for _ in range(8) for outcome in reader.endings(0.2)]

    wait_for(f"{count} outcomes", lambda: len(read()) >= count)
    return sorted(read())


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_partitions_that_are_added_are_answered_from_their_beginning(
    protocol: str, settings: Settings, tmp_path: Path
) -> None:
    # Given two workers of a group that began at the end
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Process(
                    "worker",
                    settings,
                    tmp_path,
                    MARQUEE_WORKER__ID=name,
                    MARQUEE_WORKER__START="latest",
                    MARQUEE_WORKER__GROUP_PROTOCOL=protocol,
                )
            )
            for name in ("a", "b")
        ]
        for worker in workers:
            worker.wait_ready(120)
        wait_for("the partitions", lambda: sum(len(assigned(worker)) for worker in workers) >= BEFORE)
        # When partitions are added, with events in them before a worker hears of it
        grow(settings)
        sent = publish(settings, range(AFTER))
        # Then each is answered once
        assert sources(settings, len(sent)) == sorted(sent)
        for worker in workers:
            worker.wait_ready()


def assigned(worker: Process) -> set[str]:
    lines = worker.get("/metrics")[1].splitlines()
    return {line.split(" ")[0] for line in lines if line.startswith("marquee_consumer_lag{")}


def test_a_worker_that_may_not_create_topics_names_the_command_and_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    # Given a worker that may not create topics
    with Process("worker", settings, tmp_path, MARQUEE_KAFKA__CREATE_TOPICS="false") as worker:
        worker.wait_ready(120)
        # When partitions are added
        grow(settings)
        new = publish(settings, range(BEFORE, AFTER))
        problem = wait_for("the remedy", lambda: worker.readiness().get("problems", {}).get("partitions"))
        # Then the worker names the remedy, and answers in the old ones
        assert "`marquee topics`" in problem
        assert f"{settings.names.recommendations} has no partition" in problem or "dead-letters" in problem
        old = publish(settings, range(BEFORE))
        assert sources(settings, len(old)) == sorted(old)
        # And in the new ones once the command has run
        ensure_topics(settings, 30)
        assert sources(settings, len(old + new)) == sorted(old + new)
        worker.wait_ready()

"""Records that a topic refuses: the worker names the remedy, waits, and goes on once the topic is changed."""

from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from producer.endings import DeadLetter, EndingReader, Result
from schemas import kafka as clients
from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for

SECONDS = 60.0


@pytest.fixture
def deployment(lite_settings: Settings, fusion_store: str) -> Settings:
    settings = lite_settings.model_copy(update={"store": fusion_store})
    activate(settings)
    return settings


def put(settings: Settings, *records: tuple[bytes | None, bytes]) -> None:
    producer = Producer(clients.producer(settings.kafka))
    for key, value in records:
        producer.produce(settings.names.profiles, value, key, partition=0)
    assert producer.flush(SECONDS) == 0


def configure(settings: Settings, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(clients.admin(settings.kafka))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def outcomes(settings: Settings, count: int) -> list[Result | DeadLetter]:
    """The outcomes of so many events, in the order of the events."""
    found: dict[tuple[int, int], Result | DeadLetter] = {}
    with EndingReader(settings, start="beginning") as reader:

        def enough() -> bool:
            found.update({outcome.source: outcome for outcome in reader.endings(0.2)})
            return len(found) >= count

        wait_for(f"{count} outcomes", enough, SECONDS)
    return [found[source] for source in sorted(found)]


def test_a_compacted_topic_that_takes_no_dead_letter_without_a_key_is_waited_for(
    deployment: Settings, tmp_path: Path
) -> None:
    topic = deployment.names.dead_letters

    with Process("worker", deployment, tmp_path) as worker:
        # A worker that starts waits for such a topic before it takes any event (test_topic_settings.py).
        worker.wait_ready()
        configure(deployment, topic, "cleanup.policy", "compact")
        put(deployment, (b"1", b'{"user_id": 1}'), (None, b"not json"), (b"2", b'{"user_id": 2}'))

        problem = wait_for(
            "the remedy", lambda: worker.readiness().get("problems", {}).get("records"), SECONDS
        )
        assert f"cleanup.policy of {topic}" in problem
        assert "max.message.bytes" not in problem
        assert worker.child.poll() is None

        configure(deployment, topic, "cleanup.policy", "delete")

        found = outcomes(deployment, 3)
        worker.wait_ready()
        assert worker.stop() == 0

    letter = found[1]
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.value) == ("not_json", b"not json")
    assert [outcome.source for outcome in found] == [(0, 0), (0, 1), (0, 2)]

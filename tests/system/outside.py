"""Somebody who knows the contract and nothing of our code: plain clients, plain JSON."""

import json
import uuid
from collections.abc import Collection, Sequence
from typing import Any

from confluent_kafka import Consumer, Message, Producer

from tests.testbed.processes import wait_for

PROFILES, RECOMMENDATIONS = "marquee.profiles", "marquee.recommendations"


def publish(bootstrap_servers: str, events: Sequence[dict[str, object]]) -> None:
    """Publish events and wait for the broker's word on each."""
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for event in events:
        producer.produce(PROFILES, json.dumps(event).encode(), str(event["event_id"]).encode())
    assert producer.flush(30) == 0


def answers(
    bootstrap_servers: str, event_ids: Collection[str], seconds: float = 90
) -> dict[str, dict[str, Any]]:
    """The committed recommendations of these events by id, once all are there; none of them is there twice."""
    options = {"bootstrap.servers": bootstrap_servers, "group.id": uuid.uuid4().hex}
    consumer = Consumer(options | {"auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    consumer.subscribe([RECOMMENDATIONS])
    found: dict[str, dict[str, Any]] = {}

    def all_there() -> bool:
        for message in consumer.consume(500, 0.5):
            answer = _answer(message)
            if answer["event_id"] in event_ids:
                assert answer["event_id"] not in found
                found[answer["event_id"]] = answer
        return len(found) == len(event_ids)

    try:
        wait_for(f"{len(event_ids)} answers", all_there, seconds)
    finally:
        consumer.close()
    return found


def _answer(message: Message) -> dict[str, Any]:
    assert message.error() is None, message.error()
    value = message.value()
    assert value is not None
    answer: dict[str, Any] = json.loads(value)
    return answer

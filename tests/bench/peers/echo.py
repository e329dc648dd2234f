"""Kafka's limit: `python -m tests.bench.peers.echo SAMPLE GROUP EVENTS`, transactions of EVENTS with nothing in between.

Each event is answered with the next line of the file SAMPLE: results that are as long as the real ones, made before.
"""

import sys
from itertools import cycle
from pathlib import Path

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from schemas import kafka
from schemas.settings import load_settings
from worker.process import Stopping, on_signals

_SECONDS = 10.0


def main() -> None:
    """Consume, produce and commit, exactly once, until SIGTERM."""
    settings = load_settings()
    sample, group, events = sys.argv[1:4]
    stopping = Stopping()
    on_signals(stopping.set)
    results = cycle(Path(sample).read_bytes().splitlines())
    consumer = Consumer(kafka.worker_consumer(settings, {"group.id": group}))
    producer = Producer(
        kafka.transactional_producer(settings.kafka, group, settings.worker.transaction_timeout_ms)
    )
    producer.init_transactions(_SECONDS)
    consumer.subscribe([settings.names.profiles])
    while not stopping.is_set():
        batch = consume(consumer, int(events))
        if not batch:
            continue
        producer.begin_transaction()
        for message in batch:
            value = next(results)
            # The id of its event, to measure its latency.
            producer.produce(
                settings.names.recommendations,
                _head(message) + value,
                message.key(),
                message.partition(),  # type: ignore[arg-type]  # a consumed record has one
            )
        producer.send_offsets_to_transaction(_after(batch), consumer.consumer_group_metadata(), _SECONDS)
        producer.commit_transaction(_SECONDS)
    consumer.close()


def consume(consumer: Consumer, events: int) -> list[Message]:
    """One event with a wait, and what else is there without."""
    first = consumer.consume(1, 0.1)
    found = first + consumer.consume(events - 1, 0) if first else []
    return [message for message in found if message.error() is None]


def _after(batch: list[Message]) -> list[TopicPartition]:
    """The offset after the last event of each partition."""
    last = {message.partition(): message for message in batch}
    return [
        TopicPartition(message.topic(), message.partition(), message.offset() + 1)  # type: ignore[arg-type, operator]
        for message in last.values()
    ]


def _head(message: Message) -> bytes:
    """`{"event_id":"…",` of the event itself: its first field."""
    value = message.value() or b""
    return value[: value.index(b",") + 1]


if __name__ == "__main__":
    main()

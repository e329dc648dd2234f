"""What the stream relies on: librdkafka takes a pause, and its end, before a partition is assigned."""

import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from schemas import kafka
from schemas.settings import Settings

TIMEOUT = 30.0
# For what must not come.
QUIET_SECONDS = 3.0


def test_a_partition_that_is_paused_before_it_is_assigned_waits_for_the_end_of_the_pause(
    kafka_settings: Settings,
) -> None:
    # Given a worker's consumer that has one partition of two
    admin = AdminClient(kafka.admin(kafka_settings.kafka))
    admin.create_topics([NewTopic("paused", 2)])["paused"].result()
    producer = Producer(kafka.producer(kafka_settings.kafka))
    for partition in (0, 1):
        producer.produce("paused", b"value", partition=partition)
    assert producer.flush(TIMEOUT) == 0
    consumer = Consumer(kafka.worker_consumer(kafka_settings))
    first, second = ([TopicPartition("paused", number, OFFSET_BEGINNING)] for number in (0, 1))
    consumer.incremental_assign(first)
    assert _partition_within(consumer, TIMEOUT) == 0
    # When the other comes to it in a pause, then nothing is read from it
    consumer.pause(second)
    consumer.incremental_assign(second)
    assert _partition_within(consumer, QUIET_SECONDS) is None
    # Nor when it goes and comes back
    consumer.incremental_unassign(second)
    consumer.incremental_assign(second)
    assert _partition_within(consumer, QUIET_SECONDS) is None
    # Until the pause ends, which it does where it ends before the partition comes back, too
    consumer.incremental_unassign(second)
    consumer.resume(second)
    consumer.incremental_assign(second)
    assert _partition_within(consumer, TIMEOUT) == 1
    consumer.close()


def _partition_within(consumer: Consumer, seconds: float) -> int | None:
    """Where the next record is from; None where none comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for message in consumer.consume(1, 0.1):
            assert message.error() is None
            return message.partition()
    return None

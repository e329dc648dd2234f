"""Reads topics from their beginnings to their ends as they are now, and no further."""

import time
from collections.abc import Iterator

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    TopicPartition,
)

from producer.cluster import Refusal, ends, partitions, unreachable
from schemas import kafka
from schemas.errors import FatalKafkaError, SettingsError
from schemas.settings import Settings

_BATCH = 500
_POLL_SECONDS = 0.5
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}


def history(settings: Settings, topic: str, *, timeout_s: float, settled: bool = False) -> Iterator[Message]:
    """Every committed record that is there at the first step; within a partition in the order of the offsets.

    With `settled`, transactions that are under way at that moment are waited for.

    Raises:
        UnreachableError: Kafka did not answer, or nothing came, for `timeout_s`.
        SettingsError: Kafka refused who we are, or that we read the topic.
        MarqueeError: the topic does not exist.
        FatalKafkaError: the consumer cannot go on.
    """
    refusal = Refusal()
    consumer = Consumer(
        kafka.reader(
            settings.kafka,
            f"{settings.prefix}reader",
            {
                # Only this event tells the end: the markers of transactions take offsets that no record has.
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "error_cb": refusal,
                "log_level": 0,
            },
        )
    )
    try:
        count = partitions(consumer, settings.kafka, [topic], refusal, timeout_s)[topic]
        places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(count)]
        unread = {
            place.partition: place.offset
            for place in ends(settings.kafka, places, refusal, timeout_s, settled=settled)
        }
        consumer.assign(places)
        yield from _until_read(consumer, unread, settings, refusal, timeout_s)
    finally:
        consumer.close()


def _until_read(
    consumer: Consumer, unread: dict[int, int], settings: Settings, refusal: Refusal, timeout_s: float
) -> Iterator[Message]:
    """Records until each partition of `unread` has been read up to its end (exclusive)."""
    heard_at = time.monotonic()
    while unread:
        messages = consumer.consume(1, _POLL_SECONDS)
        if messages:
            messages += consumer.consume(_BATCH - 1, 0)
            heard_at = time.monotonic()
        for message in messages:
            partition, offset, error = message.partition(), message.offset(), message.error()
            assert partition is not None
            if error is None:
                if offset is not None and offset < unread.get(partition, -1):
                    yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                if offset is not None and offset >= unread.get(partition, 0):
                    unread.pop(partition, None)
            else:
                _raise_if_final(error, message)
        if refusal.error or time.monotonic() - heard_at > timeout_s:
            silent = refusal.error or KafkaError(KafkaError._TIMED_OUT)
            raise unreachable(settings.kafka, refusal, timeout_s, silent)


def _raise_if_final(error: KafkaError, message: Message) -> None:
    if error.fatal():
        raise FatalKafkaError(f"Kafka ended this reader ({error.str()}); start it again")
    if error.code() in _NOT_ALLOWED:
        raise SettingsError(
            f"Kafka does not let this client read {message.topic()} ({error.str()}); grant it the rights "
            "of `marquee acls`"
        )

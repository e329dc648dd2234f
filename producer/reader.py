"""Reads topics without a group: from a point on, or from their beginnings to their ends as they are now."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from producer.cluster import Refusal, ends, partitions, unreachable
from schemas import kafka
from schemas.errors import FatalKafkaError, SettingsError
from schemas.settings import Settings

_BATCH = 500  # records of one consume: librdkafka gives hundreds as fast as one
_POLL_SECONDS = 0.5
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}


class Reader:
    """Follows whole topics from a point that is fixed when the constructor returns, so that no record is missed."""

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        *,
        start: Literal["end", "beginning"] = "end",
        timeout_s: float = 10.0,
    ) -> None:
        """Connect and take every partition of `topics`.

        Raises:
            UnreachableError: Kafka did not answer within `timeout_s`.
            SettingsError: Kafka refused the credentials.
            MarqueeError: a topic does not exist.
        """
        self._settings = settings.kafka
        self._timeout_s = timeout_s
        self._refusal = Refusal()
        self._consumer = _consumer(settings, self._refusal, {})
        places = _beginnings(self._consumer, settings, topics, self._refusal, timeout_s)
        self._consumer.assign(
            ends(settings.kafka, places, self._refusal, timeout_s) if start == "end" else places
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave; the reader cannot be used any more."""
        self._consumer.close()

    def poll(self, timeout_s: float) -> list[Message]:
        """Wait for the first record, and return it with all that follow at once.

        Raises:
            SettingsError: Kafka refused the credentials, or the right to read.
            FatalKafkaError: this consumer cannot go on.
        """
        messages = _consume(self._consumer, timeout_s)
        if self._refusal.error:
            raise unreachable(self._settings, self._refusal, self._timeout_s, self._refusal.error)
        return [message for message in messages if _is_record(message)]


def read_to_end(
    settings: Settings, topic: str, *, timeout_s: float, settled: bool = False
) -> Iterator[Message]:
    """Every committed record that is there at the first step; within a partition in the order of the offsets.

    With `settled`, transactions that are open at that moment are waited for.

    Raises:
        UnreachableError: Kafka did not answer, or no record came, for `timeout_s`.
        SettingsError: Kafka refused the credentials, or the right to read the topic.
        MarqueeError: the topic does not exist.
        FatalKafkaError: the consumer cannot go on.
    """
    refusal = Refusal()
    # Markers of transactions take offsets that no record has: only this event shows the end.
    consumer = _consumer(settings, refusal, {"enable.partition.eof": True})
    try:
        places = _beginnings(consumer, settings, [topic], refusal, timeout_s)
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
        messages = _consume(consumer, _POLL_SECONDS)
        if messages:
            heard_at = time.monotonic()
        for message in messages:
            partition, offset, error = message.partition(), message.offset(), message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                if partition in unread and offset is not None and offset >= unread[partition]:
                    del unread[partition]
            elif _is_record(message) and offset is not None and offset < unread.get(partition or 0, -1):
                yield message
        if refusal.error or time.monotonic() - heard_at > timeout_s:
            silent = refusal.error or KafkaError(KafkaError._TIMED_OUT)
            raise unreachable(settings.kafka, refusal, timeout_s, silent)


def _consumer(settings: Settings, refusal: Refusal, own: dict[str, Any]) -> Consumer:
    options = {
        "auto.offset.reset": "earliest",  # where retention has overtaken a slow reader
        "error_cb": refusal,
        "log_level": 0,
    }
    return Consumer(kafka.reader(settings.kafka, f"{settings.prefix}reader", options | own))


def _beginnings(
    consumer: Consumer, settings: Settings, topics: Sequence[str], refusal: Refusal, timeout_s: float
) -> list[TopicPartition]:
    counts = partitions(consumer, settings.kafka, topics, refusal, timeout_s)
    return [
        TopicPartition(topic, number, OFFSET_BEGINNING)
        for topic, count in counts.items()
        for number in range(count)
    ]


def _consume(consumer: Consumer, timeout_s: float) -> list[Message]:
    messages = consumer.consume(1, timeout_s)
    return messages + consumer.consume(_BATCH - 1, 0) if messages else messages


def _is_record(message: Message) -> bool:
    """Connections come and go without harm to a reader; only an error that stays ends it."""
    error = message.error()
    if error is None:
        return True
    if error.fatal():
        raise FatalKafkaError(f"Kafka ended this reader ({error.str()}); start it again")
    if error.code() in _NOT_ALLOWED:
        raise SettingsError(
            f"Kafka does not let this client read {message.topic()} ({error.str()}); grant it the rights "
            "of `marquee acls`"
        )
    return False

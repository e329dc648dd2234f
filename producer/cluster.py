"""The cluster: reachability, credentials, topics and ends of partitions, and the delivery of a few records."""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    ClusterMetadata,
)

from schemas import kafka
from schemas.errors import MarqueeError, SettingsError, UnreachableError
from schemas.kafka import watermarks
from schemas.settings import KafkaSettings

_RETRY_SECONDS = 0.1
# The first attempt at the metadata; each further one takes twice as long. Refusals are reported between two.
_BROWSE_SECONDS = 1.0
# A broker may see a new topic later than the broker that created it.
_NEW_SECONDS = 5.0
# The consumer below joins no group, but the client wants a name.
_NO_GROUP = "marquee"


class _Client(Protocol):
    """Producer, Consumer and AdminClient alike."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> ClusterMetadata: ...

    def poll(self, timeout: float = ...) -> object: ...


class Refusal:
    """An `error_cb` that keeps the error of a refusal: librdkafka itself retries without end."""

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if kafka.refuses_us(error):
            self.error = error


def partitions(
    client: _Client, settings: KafkaSettings, topics: Collection[str], refusal: Refusal, timeout_s: float
) -> dict[str, int]:
    """Number of partitions of each topic, from the metadata of all topics: to name a topic could create it.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused the credentials.
        MarqueeError: a topic does not exist, or may not be seen.
    """
    deadline = time.monotonic() + timeout_s
    attempt_s = _BROWSE_SECONDS
    heard_at: float | None = None
    while True:
        left = deadline - time.monotonic()
        try:
            found = client.list_topics(timeout=max(0.1, min(left, attempt_s)))
        except KafkaException as error:
            client.poll(0)  # serves error_cb
            if refusal.error or left <= attempt_s:
                raise unreachable(settings, refusal, timeout_s, error.args[0]) from None
            attempt_s *= 2
            continue
        missing = [topic for topic in topics if topic not in found.topics]
        if not missing:
            return {topic: len(found.topics[topic].partitions) for topic in topics}
        now = time.monotonic()
        heard_at = heard_at or now
        if len(found.brokers) == 1 or now >= min(deadline, heard_at + _NEW_SECONDS):
            raise unknown_topic(settings, missing)
        time.sleep(_RETRY_SECONDS)


def ends(
    settings: KafkaSettings,
    places: Sequence[TopicPartition],
    refusal: Refusal,
    timeout_s: float,
    *,
    settled: bool = False,
) -> list[TopicPartition]:
    """The offsets after the last records as they are now. (OFFSET_END is resolved later, and misses the records between.)

    With `settled`, records of open transactions count too.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused the credentials.
    """
    level = "read_uncommitted" if settled else "read_committed"
    consumer = Consumer(
        kafka.reader(settings, _NO_GROUP, {"isolation.level": level, "error_cb": refusal, "log_level": 0})
    )
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            left = max(_RETRY_SECONDS, deadline - time.monotonic())
            try:
                return [
                    TopicPartition(place.topic, place.partition, watermarks(consumer, place, left)[1])
                    for place in places
                ]
            except KafkaException as error:  # a partition without a leader, for one, has one a moment later
                consumer.poll(0)  # serves error_cb
                if time.monotonic() >= deadline:
                    raise unreachable(settings, refusal, timeout_s, error.args[0]) from None
                time.sleep(_RETRY_SECONDS)
    finally:
        consumer.close()


def deliver(
    settings: KafkaSettings,
    topic: str,
    records: Iterable[tuple[bytes | None, bytes | None]],
    timeout_s: float,
) -> int:
    """Write records (key and value) to partition 0; returns the offset after the last.

    All in-sync replicas have them when this returns.

    Raises:
        UnreachableError: Kafka did not take them within `timeout_s`.
        SettingsError: Kafka refused the credentials.
        MarqueeError: the topic does not exist, or refuses a record.
    """
    refusal, errors, offsets = Refusal(), list[KafkaError](), [-1]

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error)
        else:
            offsets.append(message.offset() or 0)

    options = {"message.timeout.ms": int(timeout_s * 1_000), "error_cb": refusal, "log_level": 0}
    producer = Producer(kafka.producer(settings, options))
    partitions(producer, settings, [topic], refusal, timeout_s)
    for key, value in records:
        try:
            producer.produce(topic, value, key, partition=0, on_delivery=delivered)
        except KafkaException as refused:
            errors.append(refused.args[0])
    if producer.flush(timeout_s + 1.0) or errors:
        error = errors[0] if errors else KafkaError(KafkaError._TIMED_OUT)
        if error.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT):
            raise unreachable(settings, refusal, timeout_s, error)
        raise MarqueeError(f"{topic} refused a record ({error.str()}); check the rights on it")
    return max(offsets) + 1


def unknown_topic(settings: KafkaSettings, missing: list[str]) -> MarqueeError:
    """The error of missing topics."""
    return MarqueeError(
        f"Kafka at {settings.bootstrap_servers} has no topic {', '.join(missing)} (or it may not be seen); "
        "create it with `marquee topics`, or check MARQUEE_PREFIX"
    )


def unreachable(
    settings: KafkaSettings, refusal: Refusal, timeout_s: float, error: KafkaError
) -> MarqueeError:
    """The error of a cluster that did not answer, or refused the client."""
    where = f"Kafka at {settings.bootstrap_servers}"
    if refusal.error:
        return SettingsError(
            f"{where} refused who we are ({refusal.error.str()}); check the MARQUEE_KAFKA__SASL_… and "
            "MARQUEE_KAFKA__SSL_… settings"
        )
    return UnreachableError(
        f"{where} did not answer within {timeout_s:g} s ({error.str()}); start it, or set "
        "MARQUEE_KAFKA__BOOTSTRAP_SERVERS to where it is"
    )

"""What every client here asks of the cluster first: is it there, does it let us in, do the topics exist."""

import time
from collections.abc import Collection, Sequence
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    ClusterMetadata,
)

from schemas import kafka
from schemas.errors import MarqueeError, SettingsError, UnreachableError
from schemas.kafka import watermarks
from schemas.settings import KafkaSettings

_RETRY_SECONDS = 0.1
# The first attempt at the metadata, each further one twice as long: between two, a refusal is heard of.
_BROWSE_SECONDS = 1.0
# Of several brokers one may hear of a new topic later than who created it.
_NEW_SECONDS = 5.0
# A consumer that only asks joins none, but the client wants a name.
_NO_GROUP = "marquee"


class _Client(Protocol):
    """Producer, Consumer and AdminClient alike."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> ClusterMetadata: ...

    def poll(self, timeout: float = ...) -> object: ...


class Refusal:
    """An `error_cb` that remembers why brokers refused us: librdkafka itself goes on trying for ever."""

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if kafka.refuses_us(error):
            self.error = error


def partitions(
    client: _Client, settings: KafkaSettings, topics: Collection[str], refusal: Refusal, timeout_s: float
) -> dict[str, int]:
    """Number of partitions of each topic. The whole metadata is asked for: naming a topic could create it.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused who we are.
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
    """The offsets after the last records as they are now: OFFSET_END would be looked up later, and miss what comes between.

    With `settled`, records count too whose transaction is still open.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused who we are.
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


def unknown_topic(settings: KafkaSettings, missing: list[str]) -> MarqueeError:
    """The error of topics that are not there."""
    return MarqueeError(
        f"Kafka at {settings.bootstrap_servers} has no topic {', '.join(missing)} (or it may not be seen); "
        "create it with `marquee topics`, or check MARQUEE_PREFIX"
    )


def unreachable(
    settings: KafkaSettings, refusal: Refusal, timeout_s: float, error: KafkaError
) -> MarqueeError:
    """The error of a cluster that did not answer, or would not."""
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

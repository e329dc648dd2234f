"""What every client here asks of the cluster first: is it there, does it let us in, do the topics exist."""

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ClusterMetadata,
    OffsetSpec,
)

from schemas import kafka
from schemas.errors import MarqueeError, SettingsError, UnreachableError
from schemas.settings import KafkaSettings

_RETRY_SECONDS = 0.1
# The first attempt at the metadata, each further one twice as long: between two, a refusal is heard of.
_BROWSE_SECONDS = 1.0


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
    client: _Client, settings: KafkaSettings, topics: Iterable[str], refusal: Refusal, timeout_s: float
) -> dict[str, int]:
    """Number of partitions of each topic. The whole metadata is asked for: naming a topic could create it.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused who we are.
        MarqueeError: a topic does not exist, or may not be seen.
    """
    deadline = time.monotonic() + timeout_s
    attempt_s = _BROWSE_SECONDS
    while True:
        left = deadline - time.monotonic()
        try:
            seen = client.list_topics(timeout=max(0.1, min(left, attempt_s))).topics
            break
        except KafkaException as error:
            client.poll(0)  # serves error_cb
            if refusal.error or left <= attempt_s:
                raise unreachable(settings, refusal, timeout_s, error.args[0]) from None
            attempt_s *= 2
    missing = [topic for topic in topics if topic not in seen]
    if missing:
        raise unknown_topic(settings, missing)
    return {topic: len(seen[topic].partitions) for topic in topics}


def ends(
    settings: KafkaSettings,
    places: Sequence[TopicPartition],
    refusal: Refusal,
    timeout_s: float,
    level: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> list[TopicPartition]:
    """The offsets after the last records as they are now: OFFSET_END would be looked up later, and miss what comes between.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused who we are.
    """
    admin = AdminClient(kafka.admin(settings, {"log_level": 0}))
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            futures = admin.list_offsets(
                dict.fromkeys(places, latest), isolation_level=level, request_timeout=timeout_s
            )
            return [
                TopicPartition(place.topic, place.partition, future.result().offset)
                for place, future in futures.items()
            ]
        except KafkaException as error:  # a partition without a leader, for one, has one a moment later
            if time.monotonic() >= deadline:
                raise unreachable(settings, refusal, timeout_s, error.args[0]) from None
            time.sleep(_RETRY_SECONDS)


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

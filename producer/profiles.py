"""Publishes profile events: idempotent, keyed by the person, each delivery confirmed or reported by its line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producer.cluster import Refusal, partitions, unknown_topic, unreachable
from schemas import kafka
from schemas.errors import FatalKafkaError, MarqueeError, SettingsError
from schemas.profile import ProfileEvent
from schemas.settings import Settings

# Raw bytes are sent as they are, whether they are a profile or not.
Profile = ProfileEvent | Mapping[str, object] | bytes

_AWAY = {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}
_UNKNOWN_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}


@dataclass(frozen=True)
class Delivery:
    """The place of a delivered event; `line` is the publisher's name of it, `timestamp_ms` since 1970 its own timestamp."""

    line: str
    partition: int
    offset: int
    timestamp_ms: int


@dataclass
class Counts:
    """Events that were passed to the client, and those that the brokers confirmed; `bytes` of values."""

    sent: int = 0
    delivered: int = 0
    bytes: int = 0


def encode(profile: Profile) -> tuple[bytes | None, bytes]:
    """Key and value of an event. The key is the user as decimal text, or the event's id, or none."""
    if isinstance(profile, bytes):
        return _key(_fields(profile)), profile
    fields = profile.model_dump(exclude_none=True) if isinstance(profile, ProfileEvent) else profile
    return _key(fields), orjson.dumps(dict(fields))


def _fields(value: bytes) -> Mapping[str, object]:
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _key(fields: Mapping[str, object]) -> bytes | None:
    user_id, event_id = fields.get("user_id"), fields.get("event_id")
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        return str(user_id).encode()
    return event_id.encode() if isinstance(event_id, str) and event_id else None


class ProfilePublisher:
    """A context: when it ends without an error, every published event is delivered, or an error is raised."""

    def __init__(
        self,
        settings: Settings,
        *,
        timeout_s: float = 30.0,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        """Connect; `timeout_s` is how long Kafka may be away, now and later, before that is an error.

        Raises:
            UnreachableError: Kafka did not answer.
            SettingsError: Kafka refused the credentials.
            MarqueeError: the topic does not exist.
        """
        self.topic = settings.names.profiles
        self.counts = Counts()
        self._settings = settings.kafka
        self._timeout_s = timeout_s
        self._on_delivery = on_delivery
        self._failure: MarqueeError | None = None
        self._refusal = Refusal()
        # The sentence of ours is enough: without log_level, librdkafka writes its own beside it.
        config = kafka.producer(
            settings.kafka,
            {
                "message.timeout.ms": int(timeout_s * 1_000),
                "error_cb": self._refusal,
                "log_level": 0,
            },
        )
        self._producer = Producer(config)
        partitions(self._producer, settings.kafka, [self.topic], self._refusal, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        else:
            self._producer.purge()

    def publish(self, profile: Profile, line: str = "the event") -> None:
        """Hand over one event, waiting while the queue is full; `line` names it should its delivery fail.

        Raises:
            MarqueeError: an event, this one or one before, could not be delivered.
        """
        key, value = encode(profile)
        while True:
            try:
                self._producer.produce(
                    self.topic, key=key, value=value, on_delivery=partial(self._delivered, line)
                )
                break
            except BufferError:
                self.poll(0.1)
            except KafkaException as error:
                raise self._explain(error.args[0], line) from None
        self.counts.sent += 1
        self.counts.bytes += len(value)
        self.poll()

    def flush(self) -> Counts:
        """Wait until everything is delivered.

        Raises:
            MarqueeError: an event could not be delivered.
        """
        while self._producer.flush(0.2):
            self._raise_failure()
        self._raise_failure()
        return self.counts

    def poll(self, timeout_s: float = 0.0) -> None:
        """Hear of deliveries, waiting up to `timeout_s` for the first.

        Raises:
            MarqueeError: an event could not be delivered.
        """
        self._producer.poll(timeout_s)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _delivered(self, line: str, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or self._explain(error, line)
            return
        self.counts.delivered += 1
        partition, offset = message.partition(), message.offset()
        if self._on_delivery and partition is not None and offset is not None:
            self._on_delivery(Delivery(line, partition, offset, message.timestamp()[1]))

    def _explain(self, error: KafkaError, line: str) -> MarqueeError:
        what = f"{line} could not be delivered to {self.topic}"
        if error.code() in _AWAY:
            away = unreachable(self._settings, self._refusal, self._timeout_s, error)
            return type(away)(f"{what}: {away}")
        if error.code() in _UNKNOWN_TOPIC:
            return unknown_topic(self._settings, [self.topic])
        if error.code() in _NOT_ALLOWED:
            return SettingsError(f"{what} ({error.str()}); grant this client the right to write to it")
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
            return MarqueeError(f"{what}: it is larger than the topic's max.message.bytes allows")
        kind = FatalKafkaError if error.fatal() else MarqueeError
        return kind(f"{what} ({error.str()})")


def publish_one(settings: Settings, profile: Profile, *, timeout_s: float = 30.0) -> Delivery:
    """Publish one event, and say where it went. Raises as `ProfilePublisher`."""
    deliveries: list[Delivery] = []
    with ProfilePublisher(settings, timeout_s=timeout_s, on_delivery=deliveries.append) as publisher:
        publisher.publish(profile)
    return deliveries[0]

"""Reads what became of events: committed recommendations and dead letters, from any point, without a group."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    TopicPartition,
)
from pydantic import ValidationError

from producer.cluster import Refusal, ends, partitions, unreachable
from schemas import dead_letter, kafka
from schemas.errors import FatalKafkaError, MarqueeError
from schemas.headers import headers_of
from schemas.names import Names
from schemas.recommendation import Recommendation
from schemas.settings import Settings

log = logging.getLogger(__name__)

_BATCH = 500  # records of one consume: librdkafka gives hundreds as fast as one


class NoAnswerError(MarqueeError):
    """Nothing became of an event within the time given."""


@dataclass(frozen=True)
class Result:
    """A recommendation as committed; `timestamp_ms` since 1970 is the broker's (LogAppendTime)."""

    recommendation: Recommendation
    value: bytes
    timestamp_ms: int

    @property
    def source(self) -> tuple[int, int]:
        """Partition and offset of the event."""
        return self.recommendation.source.partition, self.recommendation.source.offset


@dataclass(frozen=True)
class DeadLetter:
    """An event that could not be answered, and why; `timestamp_ms` as in `Result`."""

    key: bytes | None
    value: bytes | None
    reason: str
    error: str
    source: tuple[int, int]
    failed_at: str
    timestamp_ms: int
    release: str | None = None
    topic: str | None = None  # that it came from: profiles, or feedback


Outcome = Result | DeadLetter


class Reader:
    """Follows whole topics from a point that is fixed when the constructor returns, so that nothing is missed."""

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
            SettingsError: Kafka refused who we are.
            MarqueeError: a topic does not exist.
        """
        self._settings = settings.kafka
        self._timeout_s = timeout_s
        self._refusal = Refusal()
        config = kafka.reader(
            settings.kafka,
            f"{settings.prefix}reader",
            {
                "auto.offset.reset": "earliest",  # where retention has overtaken a slow reader
                "error_cb": self._refusal,
                "log_level": 0,
            },
        )
        self._consumer = Consumer(config)
        counts = partitions(self._consumer, settings.kafka, topics, self._refusal, timeout_s)
        places = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        self._consumer.assign(
            ends(settings.kafka, places, self._refusal, timeout_s) if start == "end" else _beginnings(places)
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
        """What has come: waits for the first record, then takes whatever else is there.

        Raises:
            SettingsError: Kafka refused who we are.
            FatalKafkaError: this consumer cannot go on.
        """
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(_BATCH - 1, 0)
        if self._refusal.error:
            raise unreachable(self._settings, self._refusal, self._timeout_s, self._refusal.error)
        return [message for message in messages if _is_record(message)]


def _beginnings(places: list[TopicPartition]) -> list[TopicPartition]:
    return [TopicPartition(place.topic, place.partition, OFFSET_BEGINNING) for place in places]


def _is_record(message: Message) -> bool:
    """Connections come and go without harm to a reader; only a fatal error ends it."""
    error = message.error()
    if error is not None and error.fatal():
        raise FatalKafkaError(f"Kafka ended this reader ({error.str()}); start it again")
    if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        raise MarqueeError(f"Kafka lets this client not read {message.topic()}; grant it the right")
    return error is None


class OutcomeReader(Reader):
    """Follows recommendations and dead letters."""

    def __init__(
        self,
        settings: Settings,
        *,
        start: Literal["end", "beginning"] = "end",
        timeout_s: float = 10.0,
    ) -> None:
        """Raises as `Reader`."""
        self._names = settings.names
        topics = [settings.names.recommendations, settings.names.dead_letters]
        super().__init__(settings, topics, start=start, timeout_s=timeout_s)

    def outcomes(self, timeout_s: float) -> list[Outcome]:
        """What has become of events since the last call; waits up to `timeout_s` for the first. Raises as `poll`."""
        return outcomes_of(self.poll(timeout_s), self._names)

    def outcome_of(self, partition: int, offset: int, timeout_s: float) -> Outcome:
        """What became of the event at that place of `profiles`: two events may share an id, never a place.

        Raises:
            NoAnswerError: nothing within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            for outcome in self.outcomes(min(left, 0.5)):
                foreign = isinstance(outcome, DeadLetter) and outcome.topic != self._names.profiles
                if outcome.source == (partition, offset) and not foreign:
                    return outcome
        place = f"{self._names.profiles}-{partition}-{offset}"
        raise NoAnswerError(f"no answer to {place} came within {timeout_s:g} s")


def outcomes_of(messages: Iterable[Message], names: Names) -> list[Outcome]:
    """The outcomes among records of `recommendations` and `dead-letters`; the others are skipped, with a warning."""
    found: list[Outcome] = []
    skipped: list[MarqueeError] = []
    for message in messages:
        try:
            found.append(read_outcome(message, names))
        except MarqueeError as error:
            skipped.append(error)
    if skipped:
        log.warning("skipped %d records; %s", len(skipped), skipped[0])
    return found


def read_outcome(message: Message, names: Names) -> Outcome:
    """A record of `recommendations` or of `dead-letters`.

    Raises:
        MarqueeError: it is not what the design says.
    """
    return (
        read_dead_letter(message) if message.topic() == names.dead_letters else read_recommendation(message)
    )


def read_recommendation(message: Message) -> Result:
    """A record of `recommendations`.

    Raises:
        MarqueeError: it is not a recommendation.
    """
    value = message.value() or b""
    try:
        recommendation = Recommendation.model_validate_json(value)
    except ValidationError as error:
        place = f"{message.topic()}-{message.partition()}-{message.offset()}"
        raise MarqueeError(
            f"{place} is no recommendation ({error.errors()[0]['msg']}); find who else writes to the topic"
        ) from None
    return Result(recommendation, value, message.timestamp()[1])


def read_dead_letter(message: Message) -> DeadLetter:
    """A record of `dead-letters`.

    Raises:
        MarqueeError: it lacks the headers of a dead letter.
    """
    headers = {name: _text(value) for name, value in dict(headers_of(message)).items() if value}
    try:
        topic, partition, offset = dead_letter.place_of(headers[dead_letter.SOURCE])
        return DeadLetter(
            message.key(),
            message.value(),
            headers[dead_letter.REASON],
            headers[dead_letter.ERROR],
            (partition, offset),
            headers[dead_letter.FAILED_AT],
            message.timestamp()[1],
            headers.get(dead_letter.RELEASE),
            topic,
        )
    except (KeyError, ValueError):
        place = f"{message.topic()}-{message.partition()}-{message.offset()}"
        raise MarqueeError(
            f"{place} lacks a dead letter's headers; find who else writes to the topic"
        ) from None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")

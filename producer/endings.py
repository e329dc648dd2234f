"""The endings of events: committed recommendations and dead letters, read from any point without a group."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import Message
from pydantic import ValidationError

from producer.reader import Reader
from schemas import dead_letter
from schemas.errors import MarqueeError
from schemas.headers import headers_of
from schemas.names import Names
from schemas.recommendation import Recommendation
from schemas.settings import Settings

log = logging.getLogger(__name__)


class NoEndingError(MarqueeError):
    """An event did not end within the time given."""


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
    """An event that could not be answered, with the reason; `timestamp_ms` as in `Result`."""

    key: bytes | None
    value: bytes | None
    reason: str
    error: str
    source: tuple[int, int]
    failed_at: str
    timestamp_ms: int
    release: str | None = None
    topic: str | None = None  # of the event: profiles, or feedback


Ending = Result | DeadLetter


class EndingReader(Reader):
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

    def endings(self, timeout_s: float) -> list[Ending]:
        """The endings since the last call; waits up to `timeout_s` for the first. Raises as `poll`."""
        return endings_of(self.poll(timeout_s), self._names)

    def ending_of(self, partition: int, offset: int, timeout_s: float) -> Ending:
        """The ending of the event at that place of `profiles`: two events may share an id, never a place.

        Raises:
            NoEndingError: there is none within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            for ending in self.endings(min(left, 0.5)):
                foreign = isinstance(ending, DeadLetter) and ending.topic != self._names.profiles
                if ending.source == (partition, offset) and not foreign:
                    return ending
        place = f"{self._names.profiles}-{partition}-{offset}"
        raise NoEndingError(f"no answer to {place} came within {timeout_s:g} s")


def endings_of(messages: Iterable[Message], names: Names) -> list[Ending]:
    """The endings among records of `recommendations` and `dead-letters`; the others are skipped, with a warning."""
    found: list[Ending] = []
    skipped: list[MarqueeError] = []
    for message in messages:
        try:
            found.append(read_ending(message, names))
        except MarqueeError as error:
            skipped.append(error)
    if skipped:
        log.warning("skipped %d records; %s", len(skipped), skipped[0])
    return found


def read_ending(message: Message, names: Names) -> Ending:
    """A record of `recommendations` or of `dead-letters`.

    Raises:
        MarqueeError: it is not as the contract says.
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

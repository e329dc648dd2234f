"""Asks with one event: publishes it, and waits for its result."""

from collections.abc import Callable

from producer.endings import DeadLetter, EndingReader, NoEndingError, Result
from producer.profiles import Profile, publish_one
from schemas.errors import MarqueeError
from schemas.settings import Settings


def ask(
    settings: Settings, profile: Profile, timeout_s: float, diagnose: Callable[[Settings], str]
) -> tuple[Result, int]:
    """Return the result of an event, and the milliseconds between the timestamps of the event and of the result.

    `diagnose` names the cause if no result comes.

    Raises:
        UnreachableError: Kafka cannot be reached.
        MarqueeError: the event became a dead letter, or no result came.
    """
    with EndingReader(settings, timeout_s=timeout_s) as reader:  # opened first, so that it misses no result
        sent = publish_one(settings, profile, timeout_s=timeout_s)
        try:
            ending = reader.ending_of(sent.partition, sent.offset, timeout_s)
        except NoEndingError as error:
            raise NoEndingError(f"{error}: {diagnose(settings)}") from None
    if isinstance(ending, DeadLetter):
        raise MarqueeError(f"the event became a dead letter, {ending.reason}: {ending.error}")
    return ending, ending.timestamp_ms - sent.timestamp_ms

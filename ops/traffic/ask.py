"""The answer to one event: asked for, and as a person reads it."""

from producer.endings import DeadLetter, EndingReader, NoEndingError, Result
from producer.profiles import Profile, publish_one
from schemas.errors import MarqueeError
from schemas.settings import Settings

# For the cause of a silence, each part of the deployment is looked at: on a busy machine that takes seconds.
_LOOK_SECONDS = 10.0


def ask(settings: Settings, profile: Profile, timeout_s: float) -> tuple[Result, int]:
    """The answer to one event, and the milliseconds from the event's timestamp to the broker's of its answer.

    Raises:
        UnreachableError: Kafka cannot be reached.
        MarqueeError: the event became a dead letter, or no answer came; what is to be seen of the cause is said.
    """
    with EndingReader(settings, timeout_s=timeout_s) as reader:  # before the event is sent: nothing is missed
        sent = publish_one(settings, profile, timeout_s=timeout_s)
        try:
            ending = reader.ending_of(sent.partition, sent.offset, timeout_s)
        except NoEndingError as error:
            raise NoEndingError(f"{error}: {_cause(settings)}") from None
    if isinstance(ending, DeadLetter):
        raise MarqueeError(f"the event became a dead letter, {ending.reason}: {ending.error}")
    return ending, ending.timestamp_ms - sent.timestamp_ms


def _cause(settings: Settings) -> str:
    """What can be seen of why nobody answers; that nothing can is a cause as well."""
    from ops.deployment.overview import (
        overview,  # brings Paddle along, which a person who is answered need not wait for
    )

    try:
        seen = overview(settings, timeout_s=_LOOK_SECONDS)
    except MarqueeError as error:
        return str(error)
    waiting = sum(group.total_lag for group in seen.groups if group.name == settings.names.worker_group)
    causes = [*seen.problems, *([f"{waiting:,} events wait for the workers"] if waiting else [])]
    return "; ".join(causes) or "every part looks well; see the worker's log"

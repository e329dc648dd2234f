"""What the log says of events: their place and what became of them, never what is in them."""

import logging
from collections.abc import Sequence

from schemas import dead_letter
from worker.events.batch import Answer, Event, source_of

log = logging.getLogger(__name__)


def place(event: Event, release: str) -> dict[str, str | int]:
    """Fields of a log line about an event, for `extra=`."""
    return {
        "topic": event.topic(),
        "partition": event.partition(),
        "offset": event.offset(),
        "release": release,
    }


def report_dead_letters(answers: Sequence[Answer]) -> None:
    """One line for all dead letters of a transaction. `marquee.error` may quote the event, so it stays in the topic."""
    dead = [answer for answer in answers if answer.reason is not None]
    if not dead:
        return
    first = dead[0]
    release = _release(first)
    log.warning(
        "%d of %d events ended as dead letters; the first is %s: %s, with release %s",
        len(dead),
        len(answers),
        source_of(first.event),
        first.reason,
        release,
        extra=place(first.event, release),
    )


def _release(answer: Answer) -> str:
    release = dict(answer.record.headers).get(dead_letter.RELEASE) or b""
    return release if isinstance(release, str) else release.decode()

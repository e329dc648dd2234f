"""Dead letters: the event's key, bytes and headers unchanged, the reason in headers of ours, and a line in the log."""

import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from schemas import dead_letter
from schemas.dead_letter import RESERVED_HEADER_PREFIX
from schemas.headers import Headers
from worker.events.batch import Answer, Record
from worker.events.decode import Rejection
from worker.events.event import CopiedEvent, Event, source_of

log = logging.getLogger(__name__)

# People read the error, and it takes memory in every reader.
MAX_ERROR_CHARACTERS = 1_000


def encode_dead_letter(
    topic: str, event: Event, rejection: Rejection, release: str | None, *, without_value: bool = False
) -> Record:
    """The dead letter of an event.

    Args:
        release: the one that was active when the event failed, so that the failures of a release can be found; None where
            no release had a part in it.
        without_value: replace the value by its length and sha256, because no broker accepts it.
    """
    value = event.kept_value if isinstance(event, CopiedEvent) else event.value()
    headers = copied_headers(event)
    headers += [
        (dead_letter.REASON, rejection.reason.encode()),
        (dead_letter.ERROR, rejection.error[:MAX_ERROR_CHARACTERS].encode(errors="replace")),
        (dead_letter.SOURCE, source_of(event).encode()),
        (dead_letter.FAILED_AT, datetime.now(UTC).isoformat(timespec="milliseconds").encode()),
    ]
    if release is not None:
        headers.append((dead_letter.RELEASE, release.encode()))
    letter = Record(topic, event.partition(), event.key(), value, headers)
    return without_its_value(letter) if without_value else letter


def without_its_value(letter: Record) -> Record:
    """A dead letter whose value is replaced by headers with its length and sha256."""
    value = letter.value
    if value is None:
        return letter
    length_and_digest: Headers = [
        (dead_letter.VALUE_LENGTH, str(len(value)).encode()),
        (dead_letter.VALUE_SHA256, hashlib.sha256(value).hexdigest().encode()),
    ]
    return Record(letter.topic, letter.partition, letter.key, None, [*letter.headers, *length_and_digest])


def copied_headers(event: Event) -> Headers:
    """An event's headers without those reserved for Marquee."""
    headers = event.headers()
    return [pair for pair in headers if not pair[0].startswith(RESERVED_HEADER_PREFIX)] if headers else []


def log_fields(event: Event, release: str) -> dict[str, str | int]:
    """Fields of a log line about an event, for `extra=`. Its content is never logged."""
    return {
        "topic": event.topic(),
        "partition": event.partition(),
        "offset": event.offset(),
        "release": release,
    }


def report_dead_letters(answers: Sequence[Answer]) -> None:
    """Log one line for all dead letters of a transaction. `marquee.error` may quote the event, so it stays in the topic."""
    dead = [answer for answer in answers if answer.reason is not None]
    if not dead:
        return
    first = dead[0]
    release = dict(first.record.headers).get(dead_letter.RELEASE) or b""
    named = release if isinstance(release, str) else release.decode()
    log.warning(
        "%d of %d events ended as dead letters; the first is %s: %s, with release %s",
        len(dead),
        len(answers),
        source_of(first.event),
        first.reason,
        named,
        extra=log_fields(first.event, named),
    )

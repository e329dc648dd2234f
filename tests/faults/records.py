"""What a committed record says of itself, read with the json module; nothing of the worker's or producer's."""

import hashlib
import json
import time

from confluent_kafka import Message

from schemas.headers import headers_of
from tests.faults.checker import Outcome

Source = tuple[str, int, int]  # topic, partition and offset


def outcome_of(message: Message, dead_letters: str) -> Outcome:
    """A record of either topic of results, whatever is in it: one that is no result names no source."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    key, value = bytes_of(message.key()), bytes_of(message.value())
    digest = digest_of(value)
    now, stored_at = time.monotonic(), message.timestamp()[1] / 1_000
    if message.topic() == dead_letters:
        source = _place_of(dict(headers_of(message)).get("marquee.source"))
        return Outcome("dead letter", partition, offset, key, source, digest, at=now, stored_at=stored_at)
    source, event_id, release, collection = _said(value)
    return Outcome(
        "recommendation",
        partition,
        offset,
        key,
        source,
        digest,
        event_id,
        release,
        collection,
        at=now,
        stored_at=stored_at,
    )


def bytes_of(text: str | bytes | None) -> bytes | None:
    """What the client's types call text, and what is bytes."""
    return text.encode() if isinstance(text, str) else text


def digest_of(value: bytes | None) -> bytes | None:
    """sha256 of a record's value, None where it has none."""
    return None if value is None else hashlib.sha256(value).digest()


def _said(value: bytes | None) -> tuple[Source | None, str | None, str | None, str | None]:
    """What a recommendation says of itself: its source, event, release and collection; nothing where it is none."""
    try:
        said = json.loads(value or b"")
        place = said["source"]
        source = (str(place["topic"]), int(place["partition"]), int(place["offset"]))
        return source, str(said["event_id"]), str(said["release"]), str(said["collection"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, None, None, None


def _place_of(header: str | bytes | None) -> Source | None:
    """What a dead letter answers; None where it is none."""
    try:
        text = header.decode() if isinstance(header, bytes) else str(header)
        topic, partition, offset = text.rsplit("-", 2)
        return topic, int(partition), int(offset)
    except ValueError:
        return None

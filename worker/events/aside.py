"""Events that another process read, or nobody could: they go through the pipeline like polled ones."""

import time
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME

from schemas import dead_letter
from schemas.dead_letter import Reason
from schemas.headers import Headers
from worker.events.batch import Place
from worker.events.decode import MAX_EVENT_BYTES, Rejection


def _now() -> tuple[int, int]:
    return TIMESTAMP_CREATE_TIME, int(time.time() * 1_000)


@dataclass(frozen=True, slots=True)
class EventAside:
    """An event with the face of a `Message`; with a rejection it is a dead letter, whatever is in it."""

    place: Place
    at: int
    kept_key: bytes | None = None
    kept_value: bytes | None = None
    kept_timestamp: tuple[int, int] = field(default_factory=_now)
    kept_headers: Headers = field(default_factory=list)
    rejection: Rejection | None = None
    about_value: Headers = field(default_factory=list)
    """Headers of the dead letter that stand for a value which is not kept."""

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.kept_key

    def value(self) -> bytes | None:
        """Nothing to decode where it is rejected already."""
        return None if self.rejection else self.kept_value

    def timestamp(self) -> tuple[int, int]:
        return self.kept_timestamp

    def headers(self) -> Headers | None:
        return self.kept_headers


def read_event(place: Place, record: dict[str, Any]) -> EventAside:
    """The event of a record as `worker.kafka.batch_reader` writes it; one that is too large comes without its value."""
    headers: Headers = [(name, _bytes(value)) for name, value in record["headers"]]
    kind, at_ms = record["timestamp"]
    key, value, offset = _bytes(record["key"]), _bytes(record.get("value")), record["offset"]
    if "length" not in record:
        return EventAside(place, offset, key, value, (kind, at_ms), headers)
    length = record["length"]
    error = f"the event has {length} bytes; at most {MAX_EVENT_BYTES} are read"
    about: Headers = [
        (dead_letter.VALUE_LENGTH, str(length).encode()),
        (dead_letter.VALUE_SHA256, record["sha256"].encode()),
    ]
    rejection = Rejection(Reason.TOO_LARGE, error)
    return EventAside(place, offset, key, None, (kind, at_ms), headers, rejection, about)


def unreadable_event(place: Place, offset: int, why: str) -> EventAside:
    """The event at an offset whose record nobody can decode: neither key nor value are known."""
    return EventAside(place, offset, rejection=Rejection(Reason.UNREADABLE, why))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)

"""A kind of record on the wire: key, model and headers, from which the published schemas are made (schemas/topic_table.py)."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from schemas import dead_letter

# Who has to understand whom while versions differ: we read what others wrote before, others read what we write now, or both.
Compatibility = Literal["BACKWARD", "FORWARD", "FULL"]

HEADERS = {
    dead_letter.REASON: "A short code, see below.",
    dead_letter.ERROR: "A sentence for a person.",
    dead_letter.SOURCE: "`topic-partition-offset` of the event.",
    dead_letter.FAILED_AT: "When, ISO 8601 in UTC.",
    dead_letter.RELEASE: "The release that served when the event failed.",
    dead_letter.VALUE_LENGTH: "Only where the event's bytes did not fit: how many there were.",
    dead_letter.VALUE_SHA256: "Only then: their sha256.",
}


@dataclass(frozen=True)
class Message:
    """One kind of record; without `model` the value is any bytes."""

    name: str
    key: str
    compatibility: Compatibility
    model: type[BaseModel] | None
    headers: dict[str, str] = field(default_factory=dict)

"""Dead letters: the bytes of an event that could not be answered, unchanged, with the reason in their headers."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

# Prefix of Marquee's own headers; an event's headers with it are not copied.
RESERVED_HEADER_PREFIX = "marquee."

REASON = "marquee.reason"
ERROR = "marquee.error"
SOURCE = "marquee.source"
FAILED_AT = "marquee.failed_at"
RELEASE = "marquee.release"
# Only where the record would not fit the topic: its value is null, and these replace it.
VALUE_LENGTH = "marquee.value_length"
VALUE_SHA256 = "marquee.value_sha256"

# Bytes that dead-letters takes beyond profiles, for the headers.
HEADROOM_BYTES = 64 * 1024


def place_of(source: str) -> tuple[str, int, int]:
    """Topic, partition and offset of `topic-partition-offset`, as `marquee.source` has it.

    Raises:
        ValueError: it is not of this form.
    """
    topic, partition, offset = source.rsplit("-", 2)
    return topic, int(partition), int(offset)


class RedriveMarker(BaseModel):
    """A redriven dead letter, recorded in the same transaction as the event that was published again.

    Its key is the dead letter's own place, `topic-partition-offset`. An unreadable marker counts as well.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(1, description="Format of the record.")
    letter_timestamp_ms: int = Field(
        description="The dead letter's own timestamp: a topic that was deleted and created again has other letters there."
    )
    redriven_at: datetime


class Reason(StrEnum):
    """The short codes of `marquee.reason`."""

    NULL_VALUE = "null_value"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    PROCESSING_FAILED = "processing_failed"
    UNREADABLE = "unreadable"
    CRASHED = "crashed"


REASONS: dict[Reason, str] = {
    Reason.NULL_VALUE: "The record has no value.",
    Reason.NOT_JSON: "The value is not JSON in UTF-8, or is nested too deeply.",
    Reason.NOT_AN_OBJECT: "The value is JSON, but not an object.",
    Reason.INVALID: "A field has a wrong type or is out of its range; `marquee.error` names it.",
    Reason.TOO_LARGE: "The event is larger than 1 MiB, on a topic that takes such records.",
    Reason.PROCESSING_FAILED: "The event could be read, but answering it failed, also when tried alone.",
    Reason.UNREADABLE: "The Kafka client could not decode the record, also not in a process with larger limits; its value is null.",
    Reason.CRASHED: "Workers ended at the event one after the other, and so did, twice, a process that tried it alone.",
}

"""Events and the records that they end in: decoding, batches and dead letters."""

from worker.events.batch import Answer, Batch, PolledEvents, Record, Trigger, positions_after, size_of
from worker.events.dead_letters import (
    copied_headers,
    encode_dead_letter,
    log_fields,
    report_dead_letters,
    without_its_value,
)
from worker.events.decode import MAX_EVENT_BYTES, Rejection, decode, decode_feedback
from worker.events.event import (
    CopiedEvent,
    Event,
    Partition,
    partition_of,
    read_event,
    source_of,
    unreadable_event,
)

__all__ = [
    "MAX_EVENT_BYTES",
    "Answer",
    "Batch",
    "CopiedEvent",
    "Event",
    "Partition",
    "PolledEvents",
    "Record",
    "Rejection",
    "Trigger",
    "copied_headers",
    "decode",
    "decode_feedback",
    "encode_dead_letter",
    "log_fields",
    "partition_of",
    "positions_after",
    "read_event",
    "report_dead_letters",
    "size_of",
    "source_of",
    "unreadable_event",
    "without_its_value",
]

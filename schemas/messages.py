"""Every kind of record on the wire: its topic, key, model and headers, from which the published schemas are made."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from schemas import dead_letter
from schemas.dead_letter import RedriveMarker
from schemas.feedback import (
    OUTCOMES_KEY_PREFIX,
    POSITIONS_KEY,
    FeedbackEvent,
    OutcomesPositions,
    OutcomesRecord,
)
from schemas.profile import ProfileEvent
from schemas.recommendation import Recommendation
from schemas.release import (
    ACTIVE_KEY,
    RELEASE_KEY_PREFIX,
    TRIAL_KEY,
    WORKER_KEY_PREFIX,
    ActiveRecord,
    ReleaseCommand,
    ReleaseRecord,
    TrialRecord,
    WorkerRecord,
)
from schemas.withdrawal import Withdrawal

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
    """One kind of record. `topic` is its attribute in `Names`; without `model` the value is any bytes."""

    name: str
    topic: str
    key: str
    compatibility: Compatibility
    model: type[BaseModel] | None
    headers: dict[str, str] = field(default_factory=dict)


MESSAGES = (
    Message(
        "profile-event", "profiles", "user_id as decimal text, or event_id, or null", "BACKWARD", ProfileEvent
    ),
    Message("recommendation", "recommendations", "the event's", "FORWARD", Recommendation),
    Message("dead-letter", "dead_letters", "the event's", "FORWARD", None, HEADERS),
    Message("redrive-marker", "redriven", "the dead letter's place", "FULL", RedriveMarker),
    Message("release-command", "release_commands", "the release", "FULL", ReleaseCommand),
    Message("release-record", "releases", f"{RELEASE_KEY_PREFIX}<id>", "FULL", ReleaseRecord),
    Message("active-record", "releases", ACTIVE_KEY, "FULL", ActiveRecord),
    Message("trial-record", "releases", TRIAL_KEY, "FULL", TrialRecord),
    Message("feedback", "feedback", "the event's", "BACKWARD", FeedbackEvent),
    Message(
        "outcomes-record",
        "outcomes",
        f"{OUTCOMES_KEY_PREFIX}<beginning>|<release>|<segment>",
        "FULL",
        OutcomesRecord,
    ),
    Message("outcomes-positions", "outcomes", POSITIONS_KEY, "FULL", OutcomesPositions),
    Message("withdrawal", "withdrawals", "the movie's id as decimal text", "FULL", Withdrawal),
    Message("worker-record", "releases", f"{WORKER_KEY_PREFIX}<id>", "FULL", WorkerRecord),
)

"""The one table of topics: how each is kept, who writes and reads it, and the kinds of records in it.

Creation and checks (worker/kafka/topics.py, worker/kafka/faults.py), rights (ops/deployment/acls.py), status, AsyncAPI and the contract
page are made from it, so that a topic is added here and in `Names` alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from pydantic import BaseModel

from schemas import dead_letter
from schemas.dead_letter import HEADROOM_BYTES, RedriveMarker
from schemas.feedback import (
    OUTCOMES_KEY_PREFIX,
    POSITIONS_KEY,
    FeedbackEvent,
    OutcomesPositions,
    OutcomesRecord,
)
from schemas.names import Names
from schemas.profile import ProfileEvent
from schemas.recommendation import Recommendation
from schemas.release import (
    ACTIVE_KEY,
    RELEASE_KEY_PREFIX,
    TOPIC_KEY_PREFIX,
    TRIAL_KEY,
    WORKER_KEY_PREFIX,
    ActiveRecord,
    ReleaseCommand,
    ReleaseRecord,
    TopicRecord,
    TrialRecord,
    WorkerRecord,
)
from schemas.withdrawal import Withdrawal

# Directions while versions differ: BACKWARD reads older writers, FORWARD is read by older readers, FULL is both.
Compatibility = Literal["BACKWARD", "FORWARD", "FULL"]

HEADERS = {
    dead_letter.REASON: "A short code, see below.",
    dead_letter.ERROR: "A sentence for a person.",
    dead_letter.SOURCE: "`topic-partition-offset` of the event.",
    dead_letter.FAILED_AT: "Moment of the failure, ISO 8601 in UTC.",
    dead_letter.RELEASE: "The release that served when the event failed.",
    dead_letter.VALUE_LENGTH: "Length of the event's bytes, only where they did not fit.",
    dead_letter.VALUE_SHA256: "Their sha256, only then.",
}


@dataclass(frozen=True)
class Message:
    """One kind of record; without `model` the value is any bytes."""

    name: str
    key: str
    compatibility: Compatibility
    model: type[BaseModel] | None
    headers: dict[str, str] = field(default_factory=dict)


Role = Literal["worker", "indexer", "outcomes", "producer", "reader", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
# Roles that are processes of Marquee; the others are applications and commands.
PROCESSES: Mapping[Role, str] = {
    "worker": "the workers",
    "indexer": "the indexer",
    "outcomes": "the outcomes worker",
}
# Kafka keeps sizes in an int.
LARGEST_BYTES = 2_147_483_647

CLEANUP, TIMESTAMPS, MAX_BYTES = "cleanup.policy", "message.timestamp.type", "max.message.bytes"
Cleanup = Literal["delete", "compact", "compact,delete"]


@dataclass(frozen=True)
class Topic:
    """One topic; `name` is its attribute in `Names`."""

    name: str
    messages: tuple[Message, ...]
    written_by: frozenset[Role]
    read_by: frozenset[Role]
    single: bool = False
    """Whether it has one partition; the others have as many as `profiles`."""
    follows_profiles: bool = False
    """Whether its records go to their event's partition number, and are as large as the event may be."""
    broker_timestamps: bool = False
    cleanup: Cleanup = "delete"
    retention_ms: int | None = None
    """None: the brokers' default."""
    if_made_anew: str | None = None
    """The loss when the topic is deleted and created again, with the remedy: partitions cannot be removed."""

    @property
    def compacted(self) -> bool:
        return "compact" in self.cleanup

    def name_in(self, names: Names) -> str:
        """The topic's name on Kafka."""
        name: str = getattr(names, self.name)
        return name

    def config(self, profiles_max_bytes: int) -> dict[str, str]:
        """The options that the topic is created with, where `profiles` takes records of so many bytes."""
        config: dict[str, str] = {}
        if self.broker_timestamps:
            config[TIMESTAMPS] = "LogAppendTime"
        if self.follows_profiles:
            config[MAX_BYTES] = str(min(profiles_max_bytes + HEADROOM_BYTES, LARGEST_BYTES))
        if self.compacted:
            config[CLEANUP] = self.cleanup
            # Compaction leaves the newest segment alone: at the default of a week, every start would read a week of heartbeats.
            config["segment.ms"] = "3600000"
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
        return config


def _roles(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


TOPICS = (
    Topic(
        "profiles",
        (
            Message(
                "profile-event", "user_id as decimal text, or event_id, or null", "BACKWARD", ProfileEvent
            ),
        ),
        written_by=_roles("producer", "admin"),
        read_by=_roles("worker", "outcomes", "admin"),
    ),
    Topic(
        "recommendations",
        (Message("recommendation", "the event's", "FORWARD", Recommendation),),
        written_by=_roles("worker"),
        # A worker's own answers say where to go on, beside its group's offsets.
        read_by=_roles("worker", "outcomes", "reader", "admin"),
        follows_profiles=True,
        broker_timestamps=True,
    ),
    Topic(
        "dead_letters",
        (Message("dead-letter", "the event's", "FORWARD", None, HEADERS),),
        written_by=_roles("worker", "outcomes"),
        read_by=_roles("worker", "reader", "admin"),
        follows_profiles=True,
        broker_timestamps=True,
    ),
    Topic(
        "redriven",
        (Message("redrive-marker", "the dead letter's place", "FULL", RedriveMarker),),
        written_by=_roles("admin"),
        read_by=_roles("admin"),
        single=True,
        cleanup="compact",
        if_made_anew="Marquee forgets which dead letters were redriven, and `--all` redrives them again",
    ),
    Topic(
        "release_commands",
        (Message("release-command", "the release", "FULL", ReleaseCommand),),
        written_by=_roles("admin"),
        read_by=_roles("indexer", "admin"),
        single=True,
        if_made_anew="commands that are not carried out are lost; send them again",
    ),
    Topic(
        "releases",
        (
            Message("release-record", f"{RELEASE_KEY_PREFIX}<id>", "FULL", ReleaseRecord),
            Message("active-record", ACTIVE_KEY, "FULL", ActiveRecord),
            Message("trial-record", TRIAL_KEY, "FULL", TrialRecord),
            Message("topic-record", f"{TOPIC_KEY_PREFIX}<name>", "FULL", TopicRecord),
            Message("worker-record", f"{WORKER_KEY_PREFIX}<id>", "FULL", WorkerRecord),
        ),
        written_by=_roles("worker", "indexer"),
        read_by=_roles("worker", "indexer", "admin"),
        single=True,
        cleanup="compact",
        if_made_anew="no release is active until `marquee reindex RELEASE --wait` indexes one again",
    ),
    Topic(
        "withdrawals",
        (Message("withdrawal", "the movie's id as decimal text", "FULL", Withdrawal),),
        written_by=_roles("admin"),
        read_by=_roles("worker", "admin"),
        single=True,
        cleanup="compact",
        if_made_anew="every movie is recommended again; keep what `marquee withdrawals` lists, and withdraw it anew",
    ),
    Topic(
        "feedback",
        (Message("feedback", "the event's", "BACKWARD", FeedbackEvent),),
        written_by=_roles("producer", "admin"),
        read_by=_roles("outcomes", "admin"),
        broker_timestamps=True,
    ),
    Topic(
        "outcomes",
        (
            Message(
                "outcomes-record",
                f"{OUTCOMES_KEY_PREFIX}<beginning>|<release>|<segment>",
                "FULL",
                OutcomesRecord,
            ),
            Message("outcomes-positions", POSITIONS_KEY, "FULL", OutcomesPositions),
        ),
        written_by=_roles("outcomes"),
        read_by=_roles("outcomes", "admin"),
        single=True,
        cleanup="compact,delete",
        retention_ms=90 * 86_400_000,
        if_made_anew="the outcomes worker counts again what recommendations and feedback still hold",
    ),
)
MESSAGES = tuple(message for topic in TOPICS for message in topic.messages)


def topic_of(message: Message) -> Topic:
    """The topic that has records of this kind."""
    return next(topic for topic in TOPICS if message in topic.messages)

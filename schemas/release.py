"""The life of a release on Kafka: commands to the indexer, and the records of the compacted topic `releases`."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

RECORD_FORMAT = 1  # of the records below; a reader that meets a newer one keeps what it has and says so

HEARTBEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0

ACTIVE_KEY = "active"
TRIAL_KEY = "trial"
RELEASE_KEY_PREFIX = "release:"
WORKER_KEY_PREFIX = "worker:"
TOPIC_KEY_PREFIX = "topic:"

# A release's name is a folder's name and part of a collection's: nothing that could leave either.
ReleaseName = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,99}$")]
Action = Literal["index", "activate", "rollback", "retire", "shadow", "canary", "end"]


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def release_key(release: str) -> str:
    return f"{RELEASE_KEY_PREFIX}{release}"


def worker_key(worker_id: str) -> str:
    return f"{WORKER_KEY_PREFIX}{worker_id}"


def topic_key(topic: str) -> str:
    return f"{TOPIC_KEY_PREFIX}{topic}"


class ReleaseState(StrEnum):
    """indexing → ready → active → retired, or rejected."""

    INDEXING = "indexing"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"
    REJECTED = "rejected"


class Record(BaseModel):
    """What commands and records share: unknown fields are ignored, so that writers may move first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(RECORD_FORMAT, description="Format of the record.")


class ReleaseCommand(Record):
    """One command of the admin producer. Seen twice, or with a passed `expected_epoch`, it changes nothing."""

    command_id: str = Field(
        default_factory=lambda: uuid4().hex,
        min_length=1,
        max_length=256,
        description="Of this command alone; its topic, partition and offset where it is missing.",
    )
    action: Action = Field(description="What is to be done.")
    release: ReleaseName | None = Field(
        None, description="The release it is about; `rollback` and `end` may leave it out."
    )
    share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Of the traffic: shadow, canary."
    )
    force: bool = Field(False, description="Activate although the evaluation is below the active release's.")
    expected_epoch: int | None = Field(None, description="Do nothing if the active epoch is another by then.")
    sent_at: datetime = Field(default_factory=now, description="When it was sent.")

    @property
    def has_id(self) -> bool:
        """Whether the producer named an id; the one made up here is another at each reading."""
        return "command_id" in self.model_fields_set


class CommandOutcome(BaseModel):
    """What became of a command, kept in the record of the release that it was about."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    command_id: str = Field(description="The command's own.")
    action: Action = Field(description="The command's own.")
    outcome: Literal["done", "refused", "ignored"] = Field(
        description="Refused: it could not be done. Ignored: it was seen before, or came too late."
    )
    reason: str | None = Field(None, description="Why, or what was found, for a person.")
    forced: bool = Field(False, description="Whether the command had `force`.")
    at: datetime = Field(default_factory=now, description="When that was.")


class ReleaseRecord(Record):
    """`release:<id>`: where a release is in its life."""

    release: str = Field(description="Its name.")
    state: ReleaseState = Field(description="`retired` as soon as another release serves.")
    reason: str | None = Field(None, description="Why it was rejected.")
    progress: float = Field(0.0, ge=0, le=1, description="Share of the catalogue that is in the collection.")
    collection: str | None = Field(
        None, description="Checked and whole; missing until there is one, or again."
    )
    attempt: int = Field(0, ge=0, description="How often its indexing was begun.")
    tries: int = Field(
        0, ge=0, description="How many indexers have begun to build it for the command under way."
    )
    rows: int | None = Field(None, description="Rows of the checked collection.")
    dimension: int | None = Field(None, description="Of its vectors.")
    index: str | None = Field(None, description="FLAT, which is exact, or HNSW.")
    recall_at_5: float | None = Field(
        None, ge=0, le=1, description="Of the collection's searches, against exact search."
    )
    ef: int | None = Field(
        None,
        ge=1,
        description="Candidates that a search of an HNSW index keeps: as many as the check needed.",
    )
    vectors_sha256: str | None = Field(None, description="Of STORE/vectors/RELEASE.npy.")
    epoch: int | None = Field(None, description="The active epoch that it was given last.")
    indexing_at: datetime | None = Field(None, description="When its indexing was last begun.")
    ready_at: datetime | None = Field(None, description="When its collection was last found whole.")
    active_at: datetime | None = Field(None, description="When it last took over.")
    retired_at: datetime | None = Field(
        None, description="When another took over, or its collection was given up."
    )
    rejected_at: datetime | None = Field(None, description="When it was rejected.")
    command_id: str | None = Field(None, description="The command that is, or was last, carried out on it.")
    commands: list[CommandOutcome] = Field(
        default_factory=list,
        description="The last 50 commands, newest last: one that comes again is known by these.",
    )


class ActiveRecord(Record):
    """`active`: what serves. The epoch only grows."""

    release: str = Field(description="The release that serves.")
    collection: str = Field(description="The collection that workers search, by this name.")
    epoch: int = Field(ge=1, description="One more with each release that takes over.")
    previous: str | None = Field(None, description="The release that served before, where `rollback` goes.")
    since: datetime = Field(default_factory=now, description="When it took over.")


class TrialRecord(Record):
    """`trial`: the candidate that shadows or shares the traffic."""

    kind: Literal["shadow", "canary"] = Field(description="Whether its answers are compared, or published.")
    release: str = Field(description="The candidate.")
    collection: str = Field(description="The candidate's own.")
    share: float = Field(gt=0, le=1, description="Of the batches (shadow), or of the keys (canary).")
    epoch: int = Field(
        ge=1, description="The active epoch beside which it is tried: another activation ends it."
    )
    since: datetime = Field(default_factory=now, description="When it began.")


class WorkerRecord(Record):
    """`worker:<id>`: who serves what. Dead when the heartbeat is a minute old."""

    worker: str = Field(description="Its id.")
    release: str | None = Field(None, description="The release that it serves.")
    epoch: int | None = Field(None, description="The active epoch of that.")
    trial: str | None = Field(None, description="The release that it has on trial beside that.")
    collections: list[str] = Field(
        default_factory=list,
        description="What it may still search, for batches under way too; none of these is dropped.",
    )
    withdrawals: int | None = Field(
        None, description="Offset after the last record of `withdrawals` that counts here."
    )
    http: str | None = Field(None, description="host:port of /metrics and /health.")
    version: str = Field(description="Of Marquee.")
    problem: str | None = Field(
        None, description="Why it does not serve the active release, or the one on trial, if so."
    )
    started_at: datetime = Field(description="When this process began.")
    heartbeat_at: datetime = Field(default_factory=now, description="When this was written.")


class TopicRecord(Record):
    """`topic:<name>`: which topic of this name events are of. A topic that is deleted and made anew has another id."""

    topic: str = Field(description="Its name.")
    topic_id: str = Field(description="Its id, as Kafka's own tools write it.")
    answers: dict[str, str] = Field(
        default_factory=dict, description="Ids of the topics of answers, by their names."
    )
    ends: dict[str, list[int]] = Field(
        default_factory=dict,
        description="Of each partition of these, the end when this topic was first seen: results before it are of another topic.",
    )
    adopted: bool = Field(
        False,
        description="Whether results were there before any record was: timestamps tell whether they are of this topic.",
    )
    seen_at: datetime = Field(default_factory=now, description="When it was first seen.")

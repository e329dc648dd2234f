"""The life of a release on Kafka: commands to the indexer, and the records of the compacted topic `releases`."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

RECORD_FORMAT = 1  # of the records below; a reader of a newer one keeps its state and reports it

HEARTBEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0

ACTIVE_KEY = "active"
TRIAL_KEY = "trial"
RELEASE_KEY_PREFIX = "release:"
WORKER_KEY_PREFIX = "worker:"
TOPIC_KEY_PREFIX = "topic:"

# A release's name is the name of a folder and part of a collection's, so no character may leave either.
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
    """The base of commands and records: unknown fields are ignored, so that writers may move first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(RECORD_FORMAT, description="Format of the record.")


class ReleaseCommand(Record):
    """One command of the admin producer. Seen twice, or with a passed `expected_epoch`, it changes nothing."""

    command_id: str = Field(
        default_factory=lambda: uuid4().hex,
        min_length=1,
        max_length=256,
        description="Id of this command; its topic, partition and offset where it is missing.",
    )
    action: Action = Field(description="Action on the release.")
    release: ReleaseName | None = Field(
        None, description="Release of the action; `rollback` and `end` may leave it out."
    )
    share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of the traffic of a shadow or canary."
    )
    force: bool = Field(
        False, description="Activation although the evaluation is below the active release's."
    )
    expected_epoch: int | None = Field(
        None, description="Active epoch at which the command counts; at any other it changes nothing."
    )
    sent_at: datetime = Field(default_factory=now, description="Moment of sending.")

    @property
    def has_id(self) -> bool:
        """Whether the producer set an id; the default here is a new one at each reading."""
        return "command_id" in self.model_fields_set


class CommandOutcome(BaseModel):
    """The status of a command, kept in the record of its release."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    command_id: str = Field(description="Id of the command.")
    action: Action = Field(description="Action of the command.")
    outcome: Literal["done", "refused", "ignored"] = Field(
        description="Status. Refused: it could not be done. Ignored: it was seen before, or came too late."
    )
    reason: str | None = Field(None, description="Reason or finding, for a person.")
    forced: bool = Field(False, description="Whether the command had `force`.")
    at: datetime = Field(default_factory=now, description="Moment of this status.")


class ReleaseRecord(Record):
    """`release:<id>`: the state of a release."""

    release: str = Field(description="Name of the release.")
    state: ReleaseState = Field(description="State; `retired` as soon as another release serves.")
    reason: str | None = Field(None, description="Reason of the rejection.")
    progress: float = Field(0.0, ge=0, le=1, description="Share of the catalogue that is in the collection.")
    collection: str | None = Field(
        None, description="Checked collection; missing before there is one, or after it was dropped."
    )
    attempt: int = Field(0, ge=0, description="Number of times that its indexing began.")
    tries: int = Field(
        0, ge=0, description="Number of indexers that began to build it for the command under way."
    )
    rows: int | None = Field(None, description="Rows of the checked collection.")
    dimension: int | None = Field(None, description="Dimension of its vectors.")
    index: str | None = Field(None, description="Index type: FLAT, which is exact, or HNSW.")
    recall_at_5: float | None = Field(
        None, ge=0, le=1, description="Recall of the collection's searches, against exact search."
    )
    ef: int | None = Field(
        None,
        ge=1,
        description="Candidates that a search of an HNSW index keeps: as many as the check needed.",
    )
    vectors_sha256: str | None = Field(None, description="sha256 of STORE/vectors/RELEASE.npy.")
    epoch: int | None = Field(None, description="Last active epoch of this release.")
    indexing_at: datetime | None = Field(None, description="Moment when its indexing last began.")
    ready_at: datetime | None = Field(None, description="Moment when its collection last passed the check.")
    active_at: datetime | None = Field(None, description="Moment when it last took over.")
    retired_at: datetime | None = Field(
        None, description="Moment when another took over, or its collection was dropped."
    )
    rejected_at: datetime | None = Field(None, description="Moment of the rejection.")
    command_id: str | None = Field(None, description="Command that is, or was last, carried out on it.")
    commands: list[CommandOutcome] = Field(
        default_factory=list,
        description="Last 50 commands, newest last; a command that is sent twice is recognized by them.",
    )


class ActiveRecord(Record):
    """`active`: the release that serves. The epoch only grows."""

    release: str = Field(description="Release that serves.")
    collection: str = Field(description="Collection that workers search, by this name.")
    epoch: int = Field(ge=1, description="Epoch; one more with each release that takes over.")
    previous: str | None = Field(None, description="Release that served before, to which `rollback` goes.")
    since: datetime = Field(default_factory=now, description="Moment of the takeover.")


class TrialRecord(Record):
    """`trial`: the candidate that shadows or shares the traffic."""

    kind: Literal["shadow", "canary"] = Field(
        description="Kind of trial: results are compared (shadow), or published (canary)."
    )
    release: str = Field(description="Release of the candidate.")
    collection: str = Field(description="Collection of the candidate.")
    share: float = Field(gt=0, le=1, description="Share of the batches (shadow), or of the keys (canary).")
    epoch: int = Field(ge=1, description="Active epoch beside which it is tried; another activation ends it.")
    since: datetime = Field(default_factory=now, description="Moment when it began.")


class WorkerRecord(Record):
    """`worker:<id>`: the release that a worker serves. The worker is dead when its heartbeat is a minute old."""

    worker: str = Field(description="Id of the worker.")
    release: str | None = Field(None, description="Release that it serves.")
    epoch: int | None = Field(None, description="Active epoch of that release.")
    trial: str | None = Field(None, description="Release that it has on trial beside that.")
    collections: list[str] = Field(
        default_factory=list,
        description="Collections that it may still search, for batches in flight too; none of these is dropped.",
    )
    withdrawals: int | None = Field(
        None, description="Offset after the last record of `withdrawals` that it has applied."
    )
    http: str | None = Field(None, description="Address of /metrics and /health, host:port.")
    version: str = Field(description="Version of Marquee.")
    problem: str | None = Field(
        None, description="Reason why it does not serve the active release, or the one on trial."
    )
    started_at: datetime = Field(description="Moment when this process started.")
    heartbeat_at: datetime = Field(default_factory=now, description="Moment of this record.")


class TopicRecord(Record):
    """`topic:<name>`: the id of a topic. A topic that is deleted and created again has another id."""

    topic: str = Field(description="Name of the topic.")
    topic_id: str = Field(description="Id of the topic, as Kafka's own tools write it.")
    answers: dict[str, str] = Field(
        default_factory=dict, description="Ids of the topics of results and dead letters, by their names."
    )
    ends: dict[str, list[int]] = Field(
        default_factory=dict,
        description="End of each of their partitions when this topic was first seen; results before it are of another topic.",
    )
    adopted: bool = Field(
        False,
        description="Whether results existed before any record did; timestamps decide whether they are of this topic.",
    )
    seen_at: datetime = Field(default_factory=now, description="Moment when it was first seen.")

"""Settings of the three processes: worker, indexer and outcomes worker."""

from typing import Any, Literal

from pydantic import Field, field_validator

from schemas.connection_settings import LONGEST_S, Group
from schemas.recommendation import Retrieval

_ID = r"^[0-9A-Za-z_.-]{1,100}$"


class WorkerSettings(Group):
    """The worker: from profile event to recommendation."""

    id: str | None = Field(
        None,
        pattern=_ID,
        description="Name that survives a restart, part of `transactional.id`; if missing, the host name, a locked slot and a "
        "mark of the machine.",
    )
    delivery: Literal["exactly-once"] | None = Field(
        None,
        description="Deprecated: every result is published exactly once. The next version refuses this setting.",
    )
    retrieval: Retrieval = Field(
        "milvus", description="Index to search: Milvus, or the worker's own copy of the vectors."
    )
    batch_events: int = Field(
        1_024,
        ge=1,
        le=16_384,
        description="Events of a batch at most; beyond 1,024 Milvus gains little (see numbers).",
    )
    batch_max_mb: int = Field(
        8,
        ge=1,
        le=1_024,
        description="Size of a batch's events at most, in MiB; a larger event is a batch of its own.",
    )
    batch_deadline_ms: float = Field(
        5.0,
        ge=0,
        le=10_000,
        description="Wait of the first event for others while a batch is under way, in milliseconds.",
    )
    cached_lists: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Lists kept for profiles that come again, about 1 KB each; 0 searches for every event.",
    )
    cache_max_mb: int = Field(
        64,
        ge=1,
        le=1_048_576,
        description="Size of the kept lists and their keys, in MiB; beyond it, or beyond `cached_lists`, the least recently "
        "used lists go. A candidate on trial keeps as many of its own.",
    )
    diversity: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of a movie's difference from its list beside its score (maximal marginal relevance over the 50 best "
        "that qualify); 0 lists the best, 1 uses the score of the first movie alone.",
    )
    exact_max_mb: int = Field(
        1_024,
        ge=0,
        description="Size of the vectors that the worker keeps a copy of for exact search, in megabytes; 0 keeps none.",
    )
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Offset at which a group without committed offsets begins."
    )
    on_lost_offset: Literal["stop", "earliest", "latest"] = Field(
        "stop",
        description="Offset to continue from when retention has removed the next event; `stop` ends the worker.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic",
        description="Group protocol; `consumer` is KIP-848, where the session timeout is the broker's.",
    )
    # Kafka's own default of 45 s leaves a killed worker's partitions unread for that long.
    session_timeout_ms: int = Field(
        20_000,
        ge=16_000,
        le=1_800_000,
        description="Silence after which a worker loses its partitions, in milliseconds. A transaction lasts up to 10 s less; "
        "past 910,000 the brokers' `transaction.max.timeout.ms` (15 minutes) has to be raised, or the worker ends with exit "
        "code 2.",
    )
    max_poll_interval_ms: int = Field(
        300_000, ge=1_000, le=86_400_000, description="Interval between two polls at most, in milliseconds."
    )
    stop_timeout_s: float = Field(
        8.0,
        gt=0,
        le=LONGEST_S,
        description="Time limit for the batches in flight after SIGTERM, in seconds.",
    )
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="Device of the user tower.")
    embed_threads: int = Field(
        1,
        ge=1,
        le=256,
        description="CPU threads that Paddle uses to embed; more than one helps only large batches.",
    )

    @field_validator("delivery", mode="before")
    @classmethod
    def _publishes_exactly_once(cls, said: Any) -> Any:
        if isinstance(said, str) and said.lower() == "at-least-once":
            raise ValueError("every result is published exactly once by now; remove this setting")
        return said

    @property
    def transaction_timeout_ms(self) -> int:
        """10 s below the session timeout: the broker looks for expired transactions every 10 s."""
        return self.session_timeout_ms - 10_000


class IndexerSettings(Group):
    """The indexer: from release to checked collection."""

    id: str | None = Field(None, pattern=_ID, description="Name that survives a restart, as worker.id.")
    batch_movies: int = Field(
        4_096, ge=1, le=65_536, description="Movies that are embedded and inserted at a time."
    )
    probes: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Searches that are compared with exact search before activation.",
    )
    index: Literal["auto", "FLAT", "HNSW"] = Field(
        "auto", description="Index of a collection: FLAT is exact, HNSW fast on many movies."
    )
    # FLAT is as fast as HNSW while the catalogue is small.
    exact_movies: int = Field(
        100_000, ge=0, description="Movies of a collection up to which `auto` chooses FLAT."
    )
    keep_releases: int = Field(2, ge=2, description="Collections kept, the active one among them.")
    evaluation_tolerance: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Share by which an evaluation may be below the active release's.",
    )

    def index_for(self, movies: int) -> Literal["FLAT", "HNSW"]:
        """The index of a collection of so many movies."""
        if self.index != "auto":
            return self.index
        return "FLAT" if movies <= self.exact_movies else "HNSW"


class OutcomesSettings(Group):
    """The outcomes worker: it counts the feedback to recommendations."""

    remembered: int = Field(
        500_000,
        ge=1,
        le=100_000_000,
        description="Recommendations of the last day that feedback is joined with, some 400 bytes each; the oldest go first.",
    )
    # The next leader takes the transactional id and so ends open transactions: no room for them is needed, unlike worker's.
    session_timeout_ms: int = Field(
        10_000,
        ge=6_000,
        le=1_800_000,
        description="Silence after which the leader loses its place to another outcomes worker, in milliseconds.",
    )

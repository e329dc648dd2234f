"""The compacted topic `releases`, read into one view: the releases, the active one, and the workers that serve it."""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import ValidationError

from schemas.release import (
    ACTIVE_KEY,
    DEAD_AFTER_SECONDS,
    RECORD_FORMAT,
    RELEASE_KEY_PREFIX,
    TOPIC_KEY_PREFIX,
    TRIAL_KEY,
    WORKER_KEY_PREFIX,
    ActiveRecord,
    CommandOutcome,
    Record,
    ReleaseRecord,
    TopicRecord,
    TrialRecord,
    WorkerRecord,
    now,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
StateRecord = ReleaseRecord | ActiveRecord | TrialRecord | WorkerRecord | TopicRecord


@dataclass(frozen=True)
class Change:
    """The change by one record of the topic; without `record` its key is gone."""

    key: str
    record: StateRecord | None


@dataclass
class ReleasesView:
    """The newest record of every key. Feed it with `apply`, in the order of the topic."""

    releases: dict[str, ReleaseRecord] = field(default_factory=dict)
    active: ActiveRecord | None = None
    trial: TrialRecord | None = None
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    topics: dict[str, TopicRecord] = field(default_factory=dict)
    newer: dict[str, int] = field(default_factory=dict)  # keys whose record has a newer format

    def apply(self, key: bytes | None, value: bytes | None) -> Change | None:
        """Apply one record; None where it changed nothing: a foreign key, malformed, of a newer format, or an old epoch."""
        name = (key or b"").decode(errors="replace")
        kind = _kind(name)
        if kind is None:
            log.warning("releases: the key %r is none of ours", name)
            return None
        if value is None:
            self.newer.pop(name, None)
            return self._put(name, None)
        written = _format(value)
        if written > RECORD_FORMAT:
            if name not in self.newer:
                log.warning("releases: %s has format %d, this Marquee reads %d", name, written, RECORD_FORMAT)
            self.newer[name] = written
            return None
        try:
            record = kind.model_validate_json(value)
        except ValidationError as error:
            log.warning("releases: %s cannot be read: %s", name, _first_problem(error))
            return None
        self.newer.pop(name, None)
        return self._put(name, record)

    def snapshot(self) -> "ReleasesView":
        """A copy that later records do not change, for another thread."""
        return ReleasesView(
            dict(self.releases),
            self.active,
            self.trial,
            dict(self.workers),
            dict(self.topics),
            dict(self.newer),
        )

    @property
    def epoch(self) -> int:
        """The active epoch; 0 before the first."""
        return self.active.epoch if self.active else 0

    def outcome(self, command_id: str) -> tuple[ReleaseRecord, CommandOutcome] | None:
        """The status of a command, and the record of its release; None before the indexer has carried it out."""
        for release in self.releases.values():
            for outcome in release.commands:
                if outcome.command_id == command_id:
                    return release, outcome
        return None

    def live_workers(self, at: datetime | None = None) -> list[WorkerRecord]:
        """The workers whose last heartbeat is less than a minute old."""
        oldest = (at or now()) - timedelta(seconds=DEAD_AFTER_SECONDS)
        return [worker for worker in self.workers.values() if worker.heartbeat_at > oldest]

    def _put(self, name: str, record: StateRecord | None) -> Change | None:
        if name == ACTIVE_KEY:
            if isinstance(record, ActiveRecord) and self.active and record.epoch < self.active.epoch:
                log.warning("releases: epoch %d after %d is ignored", record.epoch, self.active.epoch)
                return None
            self.active = record if isinstance(record, ActiveRecord) else None
        elif name == TRIAL_KEY:
            self.trial = record if isinstance(record, TrialRecord) else None
        elif name.startswith(RELEASE_KEY_PREFIX):
            release = record if isinstance(record, ReleaseRecord) else None
            _set(self.releases, name.removeprefix(RELEASE_KEY_PREFIX), release)
        elif name.startswith(TOPIC_KEY_PREFIX):
            topic = record if isinstance(record, TopicRecord) else None
            _set(self.topics, name.removeprefix(TOPIC_KEY_PREFIX), topic)
        else:
            worker = record if isinstance(record, WorkerRecord) else None
            _set(self.workers, name.removeprefix(WORKER_KEY_PREFIX), worker)
        return Change(name, record)


def _kind(key: str) -> type[StateRecord] | None:
    if key == ACTIVE_KEY:
        return ActiveRecord
    if key == TRIAL_KEY:
        return TrialRecord
    if key.startswith(RELEASE_KEY_PREFIX):
        return ReleaseRecord
    if key.startswith(TOPIC_KEY_PREFIX):
        return TopicRecord
    return WorkerRecord if key.startswith(WORKER_KEY_PREFIX) else None


def _format(value: bytes) -> int:
    try:
        return Record.model_validate_json(value).format
    except ValidationError:
        return RECORD_FORMAT  # malformed: its own model reports it


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))} {problem['msg']}".strip()


def _set(records: dict[str, T], name: str, record: T | None) -> None:
    if record is None:
        records.pop(name, None)
    else:
        records[name] = record

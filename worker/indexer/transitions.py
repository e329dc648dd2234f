"""The life of a release as the records that each step writes to `releases`. Pure functions."""

from collections.abc import Mapping
from typing import Literal

from schemas.manifest import Manifest
from schemas.release import (
    ACTIVE_KEY,
    TRIAL_KEY,
    ActiveRecord,
    CommandOutcome,
    Record,
    ReleaseCommand,
    ReleaseRecord,
    ReleaseState,
    TrialRecord,
    now,
    release_key,
)
from schemas.releases import ReleasesView
from worker.indexer.checks import Checked

Status = Literal["done", "refused", "ignored"]
_BUILDING = ("index", "shadow", "canary")  # actions that build a collection if there is none

# Statuses kept for a release: while its status is kept, a command that comes again is recognised.
_STATUSES_KEPT = 50


def started(command: ReleaseCommand, release: str, before: ReleaseRecord | None) -> ReleaseRecord:
    """One more indexer starts to build for this command; the release keeps its state and collection."""
    record = before or ReleaseRecord(release=release, state=ReleaseState.INDEXING)
    tries = record.tries if record.command_id == command.command_id else 0
    begins = {"command_id": command.command_id, "tries": tries + 1, "indexing_at": now()}
    return _building(record).model_copy(update=begins)


def attempted(command: ReleaseCommand, release: str, before: ReleaseRecord | None) -> ReleaseRecord:
    """A new attempt at indexing. A release with a collection keeps it, and its state, until the new one is ready."""
    record = before or ReleaseRecord(release=release, state=ReleaseState.INDEXING)
    changed = {
        "attempt": record.attempt + 1,
        "progress": 0.0,
        "indexing_at": now(),
        "command_id": command.command_id,
    }
    return _building(record).model_copy(update=changed)


def _building(record: ReleaseRecord) -> ReleaseRecord:
    if record.collection is not None:
        return record
    return record.model_copy(update={"state": ReleaseState.INDEXING, "reason": None})


def ready(
    record: ReleaseRecord, collection: str, manifest: Manifest, checked: Checked, vectors_sha256: str
) -> ReleaseRecord:
    """Built and checked: from here on the release is activated without a build."""
    return record.model_copy(
        update={
            "state": ReleaseState.READY,
            "reason": None,
            "progress": 1.0,
            "collection": collection,
            "rows": manifest.movies,
            "dimension": manifest.dimension,
            "index": checked.index,
            "recall_at_5": checked.recall_at_5,
            "ef": checked.ef,
            "vectors_sha256": vectors_sha256,
            "ready_at": now(),
        }
    )


def is_built_for(command: ReleaseCommand, record: ReleaseRecord | None) -> bool:
    """Whether this command has reached `ready`; an older collection does not count."""
    if record is None or record.command_id != command.command_id or record.state != ReleaseState.READY:
        return False
    return bool(record.ready_at and record.indexing_at and record.ready_at >= record.indexing_at)


def activated(
    command: ReleaseCommand, record: ReleaseRecord, view: ReleasesView, summary: str
) -> Mapping[str, Record | None]:
    """Records, by key, of an activation: the release's, the replaced release's, and `active` last.

    An activation ends the trial, because the candidate was compared with the replaced release.
    """
    assert record.collection is not None
    active, at = view.active, now()
    serving = record.model_copy(
        update={
            "state": ReleaseState.ACTIVE,
            "epoch": view.epoch + 1,
            "active_at": at,
            "command_id": command.command_id,
        }
    )
    records: dict[str, Record | None] = {
        release_key(record.release): with_status(serving, command, "done", summary)
    }
    if view.trial:
        records[TRIAL_KEY] = None
    replaced = view.releases.get(active.release) if active else None
    if replaced and replaced.release != record.release:
        records[release_key(replaced.release)] = replaced.model_copy(
            update={"state": ReleaseState.RETIRED, "retired_at": at}
        )
    records[ACTIVE_KEY] = ActiveRecord(
        release=record.release,
        collection=record.collection,
        epoch=view.epoch + 1,
        previous=_previous(active, record.release),
        since=at,
    )
    return records


def tried(
    command: ReleaseCommand,
    kind: Literal["shadow", "canary"],
    share: float,
    record: ReleaseRecord,
    view: ReleasesView,
    summary: str,
) -> Mapping[str, Record | None]:
    """Records, by key, of a candidate that goes on trial beside the active release; a trial replaces any other."""
    assert record.collection is not None
    trial = TrialRecord(
        kind=kind, release=record.release, collection=record.collection, share=share, epoch=view.epoch
    )
    # A retired release that goes on trial is ready again.
    ready_again = record.model_copy(update={"command_id": command.command_id, "state": ReleaseState.READY})
    return {
        release_key(record.release): with_status(ready_again, command, "done", summary),
        TRIAL_KEY: trial,
    }


def retired(record: ReleaseRecord) -> ReleaseRecord:
    """A release that gave its collection up."""
    return record.model_copy(update={"state": ReleaseState.RETIRED, "collection": None, "retired_at": now()})


def unchanged(
    command: ReleaseCommand,
    release: str,
    before: ReleaseRecord | None,
    status: Literal["refused", "ignored"],
    reason: str,
) -> ReleaseRecord:
    """The status of a command that changed nothing. A release that could not be built is rejected."""
    record = before or ReleaseRecord(release=release, state=ReleaseState.REJECTED)
    unbuilt = command.action in _BUILDING and record.collection is None and status == "refused"
    if unbuilt or before is None:
        record = record.model_copy(
            update={"state": ReleaseState.REJECTED, "reason": reason, "rejected_at": now()}
        )
    elif record.collection is not None:
        record = record.model_copy(update={"progress": 1.0})  # the kept collection is whole
    return with_status(record, command, status, reason)


def with_status(
    record: ReleaseRecord, command: ReleaseCommand, status: Status, reason: str | None = None
) -> ReleaseRecord:
    """The record with the status of one more command."""
    entry = CommandOutcome(
        command_id=command.command_id,
        action=command.action,
        outcome=status,
        reason=reason,
        forced=command.force,
    )
    return record.model_copy(update={"commands": [*record.commands, entry][-_STATUSES_KEPT:]})


def _previous(active: ActiveRecord | None, release: str) -> str | None:
    """The release that a rollback activates; a new build of the active release does not change it."""
    if active is None:
        return None
    return active.previous if active.release == release else active.release

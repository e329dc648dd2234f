"""The life of a release as the records that each step writes to `releases`. Pure functions."""

from collections.abc import Mapping
from typing import Any, Literal

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
    record = _indexing(release, before)
    tries = record.tries if record.command_id == command.command_id else 0
    return _with(record, command_id=command.command_id, tries=tries + 1, indexing_at=now())


def attempted(command: ReleaseCommand, release: str, before: ReleaseRecord | None) -> ReleaseRecord:
    """A new attempt at indexing. A release with a collection keeps it, and its state, until the new one is ready."""
    record = _indexing(release, before)
    attempt = record.attempt + 1
    return _with(record, attempt=attempt, progress=0.0, indexing_at=now(), command_id=command.command_id)


def _indexing(release: str, before: ReleaseRecord | None) -> ReleaseRecord:
    if before is None:
        return ReleaseRecord(release=release, state=ReleaseState.INDEXING)
    return before if before.collection else _with(before, state=ReleaseState.INDEXING, reason=None)


def ready(
    record: ReleaseRecord, collection: str, manifest: Manifest, checked: Checked, vectors_sha256: str
) -> ReleaseRecord:
    """Built and checked: from here on the release is activated without a build."""
    return _with(
        record,
        state=ReleaseState.READY,
        reason=None,
        progress=1.0,
        collection=collection,
        rows=manifest.movies,
        dimension=manifest.dimension,
        index=checked.index,
        recall_at_5=checked.recall_at_5,
        ef=checked.ef,
        vectors_sha256=vectors_sha256,
        ready_at=now(),
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
    release, active, epoch, at = record.release, view.active, view.epoch + 1, now()
    serving = _with(
        record, state=ReleaseState.ACTIVE, epoch=epoch, active_at=at, command_id=command.command_id
    )
    records: dict[str, Record | None] = {release_key(release): with_status(serving, command, "done", summary)}
    if view.trial:
        records[TRIAL_KEY] = None
    replaced = view.releases.get(active.release) if active else None
    if replaced and replaced.release != release:
        records[release_key(replaced.release)] = _with(replaced, state=ReleaseState.RETIRED, retired_at=at)
    previous = _previous(active, release)
    records[ACTIVE_KEY] = ActiveRecord(
        release=release, collection=record.collection, epoch=epoch, previous=previous, since=at
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
    release, collection = record.release, record.collection
    assert collection is not None
    # A retired release that goes on trial is ready again.
    candidate = _with(record, command_id=command.command_id, state=ReleaseState.READY)
    return {
        release_key(release): with_status(candidate, command, "done", summary),
        TRIAL_KEY: TrialRecord(
            kind=kind, release=release, collection=collection, share=share, epoch=view.epoch
        ),
    }


def retired(record: ReleaseRecord) -> ReleaseRecord:
    """A release that gave its collection up."""
    return _with(record, state=ReleaseState.RETIRED, collection=None, retired_at=now())


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
        record = _with(record, state=ReleaseState.REJECTED, reason=reason, rejected_at=now())
    elif record.collection is not None:
        record = _with(record, progress=1.0)  # the kept collection is whole
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
    return _with(record, commands=[*record.commands, entry][-_STATUSES_KEPT:])


def _previous(active: ActiveRecord | None, release: str) -> str | None:
    """The release that a rollback activates; a new build of the active release does not change it."""
    if active is None:
        return None
    return active.previous if active.release == release else active.release


def _with(record: ReleaseRecord, **changes: Any) -> ReleaseRecord:
    return record.model_copy(update=changes)

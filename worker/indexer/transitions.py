"""The life of a release as records: what each step writes to `releases`. Decides nothing, and calls nobody."""

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

Outcome = Literal["done", "refused", "ignored"]
BUILDING = ("index", "shadow", "canary")  # actions that build a collection where there is none

_OUTCOMES_KEPT = 50  # of a release: a command is known for seen as long as its outcome is kept


def tried_again(command: ReleaseCommand, release: str, before: ReleaseRecord | None) -> ReleaseRecord:
    """One more indexer begins to build it for this command; what it was until then, it stays."""
    record = before or ReleaseRecord(release=release, state=ReleaseState.INDEXING)
    tries = record.tries if record.command_id == command.command_id else 0
    begins = {"command_id": command.command_id, "tries": tries + 1, "indexing_at": now()}
    return _building(record).model_copy(update=begins)


def begun(command: ReleaseCommand, release: str, before: ReleaseRecord | None) -> ReleaseRecord:
    """A new attempt at indexing. A release with a collection keeps it and its state until the new one is ready."""
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
    """Built and checked: from here on it can be activated without being built."""
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
    """Whether this very command has come as far as `ready`; a collection of before it does not count."""
    if record is None or record.command_id != command.command_id or record.state != ReleaseState.READY:
        return False
    return bool(record.ready_at and record.indexing_at and record.ready_at >= record.indexing_at)


def activated(
    command: ReleaseCommand, record: ReleaseRecord, view: ReleasesView, summary: str
) -> Mapping[str, Record | None]:
    """Records, by key, of a release that takes over: its own, that of the one it replaces, and `active` last.

    A trial ends with it: what was compared with the candidate serves no more.
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
        release_key(record.release): with_outcome(serving, command, "done", summary)
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
    """Records, by key, of a release that goes on trial beside the active one, in the place of any other trial."""
    assert record.collection is not None
    trial = TrialRecord(
        kind=kind, release=record.release, collection=record.collection, share=share, epoch=view.epoch
    )
    # One that served before and goes on trial again is ready to serve, and not retired.
    ready_again = record.model_copy(update={"command_id": command.command_id, "state": ReleaseState.READY})
    return {
        release_key(record.release): with_outcome(ready_again, command, "done", summary),
        TRIAL_KEY: trial,
    }


def retired(record: ReleaseRecord) -> ReleaseRecord:
    """Its collection is given up."""
    return record.model_copy(update={"state": ReleaseState.RETIRED, "collection": None, "retired_at": now()})


def unchanged(
    command: ReleaseCommand,
    release: str,
    before: ReleaseRecord | None,
    outcome: Literal["refused", "ignored"],
    reason: str,
) -> ReleaseRecord:
    """The outcome of a command that changed nothing. A release without a collection to go back to is rejected."""
    record = before or ReleaseRecord(release=release, state=ReleaseState.REJECTED)
    unbuilt = command.action in BUILDING and record.collection is None and outcome == "refused"
    if unbuilt or before is None:
        record = record.model_copy(
            update={"state": ReleaseState.REJECTED, "reason": reason, "rejected_at": now()}
        )
    elif record.collection is not None:
        record = record.model_copy(update={"progress": 1.0})  # of the collection that it keeps
    return with_outcome(record, command, outcome, reason)


def with_outcome(
    record: ReleaseRecord, command: ReleaseCommand, outcome: Outcome, reason: str | None = None
) -> ReleaseRecord:
    """The record with what became of one more command."""
    entry = CommandOutcome(
        command_id=command.command_id,
        action=command.action,
        outcome=outcome,
        reason=reason,
        forced=command.force,
    )
    return record.model_copy(update={"commands": [*record.commands, entry][-_OUTCOMES_KEPT:]})


def _previous(active: ActiveRecord | None, release: str) -> str | None:
    """The release to go back to; building the active one anew does not change it."""
    if active is None:
        return None
    return active.previous if active.release == release else active.release

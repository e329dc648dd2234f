"""The collections and records that are still needed. Pure functions; the sweep acts on them."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from schemas.names import Names
from schemas.release import (
    DEAD_AFTER_SECONDS,
    ActiveRecord,
    ReleaseRecord,
    WorkerRecord,
    now,
    release_key,
    worker_key,
)
from schemas.releases import ReleasesView
from worker.indexer.transitions import retired
from worker.release.files import RELEASE_NAME

# A worker that hung for a minute may come back; after this its record is removed.
FORGET_SECONDS = 10 * DEAD_AFTER_SECONDS


def releases_to_retire(view: ReleasesView, names: Names, keep: int) -> dict[str, ReleaseRecord]:
    """Records, by key, of releases to retire: beyond the newest `keep`, and served by no live worker.

    The active release, the one it replaced and the candidate on trial always stay.
    """
    with_collection = sorted(
        (record for record in view.releases.values() if record.collection), key=_age, reverse=True
    )
    serving = _in_service(view)
    rest = [record for record in with_collection if record.release not in serving]
    room = max(0, keep - len([record for record in with_collection if record.release in serving]))
    return {
        release_key(record.release): retired(record)
        for record in rest[room:]
        if not is_served(view, names, record.collection or "")
    }


def unneeded_collections(view: ReleasesView, names: Names, existing: Iterable[str]) -> list[str]:
    """Collections with a name of ours that no record names and no live worker serves.

    `Ownership.drop` checks whose they are.
    """
    needed = named_collections(view)
    return [
        collection
        for collection in existing
        if has_our_name(names, collection)
        and collection not in needed
        and not is_served(view, names, collection)
    ]


def named_collections(view: ReleasesView) -> set[str]:
    """The collections that records of `releases` name."""
    records = [*view.releases.values(), view.active, view.trial]
    return {record.collection for record in records if record and record.collection}


def forgotten_workers(view: ReleasesView, at: datetime | None = None) -> list[str]:
    """Keys of workers that have been dead for long enough to remove their records."""
    oldest = (at or now()) - timedelta(seconds=FORGET_SECONDS)
    return [worker_key(name) for name, worker in view.workers.items() if worker.heartbeat_at < oldest]


def has_our_name(names: Names, collection: str) -> bool:
    """Whether an indexer of this deployment gives this name, or an older version did."""
    attempt = names.attempt_at(collection)
    return attempt is not None and RELEASE_NAME.fullmatch(attempt[0].replace("_", "-")) is not None


def is_served(view: ReleasesView, names: Names, collection: str) -> bool:
    """Whether a live worker may still search the collection."""
    return any(_serves(worker, view.active, names, collection) for worker in view.live_workers())


def _serves(worker: WorkerRecord, active: ActiveRecord | None, names: Names, collection: str) -> bool:
    if worker.collections:
        return collection in worker.collections
    if worker.release is None:
        return False
    if active and worker.epoch == active.epoch:
        return collection == active.collection
    # A worker of an older version reports its release, and not the attempt at indexing it.
    return names.is_collection_of(worker.release, collection)


def _in_service(view: ReleasesView) -> set[str]:
    names = {view.active.release, view.active.previous} if view.active else set()
    if view.trial:
        names.add(view.trial.release)
    return {name for name in names if name}


def _age(record: ReleaseRecord) -> datetime:
    """The last time that the release was indexed, ready or active."""
    times = (record.active_at, record.ready_at, record.indexing_at)
    return max((at for at in times if at), default=datetime.min.replace(tzinfo=now().tzinfo))

"""Which collections and records are still needed, and by whom. Decides only; the indexer acts on it."""

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
from worker.indexer.ownership import named
from worker.indexer.transitions import retired
from worker.release.files import RELEASE_NAME

# A worker that stood still for a minute may come back; nobody needs its record for longer than this.
FORGET_SECONDS = 10 * DEAD_AFTER_SECONDS


def releases_to_retire(view: ReleasesView, names: Names, keep: int) -> dict[str, ReleaseRecord]:
    """Records, by key, of releases whose collection may go: beyond the newest `keep`, and served by no live worker.

    The active release, the one it replaced and the one on trial always stay.
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


def unneeded_collections(view: ReleasesView, names: Names, there: Iterable[str]) -> list[str]:
    """Collections with a name of ours that no record names and no live worker serves: half-built, replaced or retired ones.

    The owner that each carries decides whether it is ours: `ownership`.
    """
    needed = named(view)
    return [
        collection
        for collection in there
        if has_our_name(names, collection)
        and collection not in needed
        and not is_served(view, names, collection)
    ]


def forgotten_workers(view: ReleasesView, at: datetime | None = None) -> list[str]:
    """Keys of workers that have been dead for so long that their records can go."""
    oldest = (at or now()) - timedelta(seconds=FORGET_SECONDS)
    return [worker_key(name) for name, worker in view.workers.items() if worker.heartbeat_at < oldest]


def has_our_name(names: Names, collection: str) -> bool:
    """Whether the name is one that this deployment's indexer gives, or once gave."""
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
    # A worker says which release it serves, not which attempt at indexing it.
    return names.is_collection_of(worker.release, collection)


def _in_service(view: ReleasesView) -> set[str]:
    names = {view.active.release, view.active.previous} if view.active else set()
    if view.trial:
        names.add(view.trial.release)
    return {name for name in names if name}


def _age(record: ReleaseRecord) -> datetime:
    """When it was last of use."""
    times = (record.active_at, record.ready_at, record.indexing_at)
    return max((at for at in times if at), default=datetime.min.replace(tzinfo=now().tzinfo))

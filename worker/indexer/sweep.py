"""Cleaning up: what nobody needs any more, and what indexers that died left half-built."""

import logging

from schemas.release import ReleaseRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import MilvusError, ReleaseError
from worker.indexer.admission import newer_records
from worker.indexer.job import Job
from worker.indexer.ownership import Ownership
from worker.indexer.retention import forgotten_workers, releases_to_retire, unneeded_collections
from worker.monitoring.http import Health
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus

log = logging.getLogger(__name__)


class Sweep:
    """Drops half-built collections, releases beyond those kept, records of dead workers; one run is one job."""

    def __init__(
        self, settings: Settings, milvus: Milvus, ownership: Ownership, store: ReleaseStore, health: Health
    ) -> None:
        self._names = settings.names
        self._keep = settings.indexer.keep_releases
        self._milvus = milvus
        self._ownership = ownership
        self._store = store
        self._health = health

    def __call__(self, job: Job) -> None:
        """What cannot be done now, the next one does."""
        try:
            self._sweep(job)
            self._health.set("milvus", None)
        except MilvusError as error:
            self._health.set("milvus", str(error))
            log.warning("cleaning up is put off: %s", error)
        except ReleaseError as error:
            log.warning("cleaning up is put off: %s", error)

    def _sweep(self, job: Job) -> None:
        # 1. What is there, before asking who we are: what is listed was not made by a successor.
        there = self._milvus.collections("")
        # 2. Whether the commands are still ours, and everything that names a collection can be read.
        view = job.publish({})
        newer = newer_records(view, workers=True)
        self._health.set("upgrade", newer)
        if newer:
            log.warning("cleaning up is put off: %s", newer)
            return
        # 3. What our records name is ours; those that they name no more are known by that mark.
        self._ownership.adopt(view, there)
        # 4. Take collections out of the records first, so that nobody goes back to what is being dropped.
        gone: dict[str, ReleaseRecord | None] = dict.fromkeys(forgotten_workers(view))
        gone |= releases_to_retire(view, self._names, self._keep)
        if gone:
            view = job.publish(gone)
        # 5. Drop what carries our mark.
        for collection in unneeded_collections(view, self._names, there):
            if self._ownership.drop(collection):
                log.info("dropped the collection %s: nobody needs it", collection)
        self._store.remove_partial_vectors(self._ownership.tag)
        # 6. What serves goes on without its files; a worker that starts could not load it.
        self._health.set("release", self._lost(view))

    def _lost(self, view: ReleasesView) -> str | None:
        if view.active is None:
            return None
        release = view.active.release
        try:
            missing = self._store.missing(release)
            problem = f"it lacks {', '.join(missing)}" if missing else None
        except ReleaseError as error:
            problem = str(error)
        if problem is None:
            return None
        return (
            f"release {release} is active, and a worker that starts cannot load it from the store ({problem}): "
            "copy its files into the store again, or activate another release"
        )

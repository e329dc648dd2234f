"""The sweep: drops unneeded collections and records, and half-built collections of indexers that died."""

import logging

from schemas.release import ReleaseRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import MilvusError, ReleaseError
from worker.indexer.commands import newer_records
from worker.indexer.job import Job
from worker.indexer.ownership import Ownership
from worker.indexer.retention import forgotten_workers, releases_to_retire, unneeded_collections
from worker.monitoring.http import Health
from worker.release.store import ReleaseStore
from worker.retrieval.index import IndexStore

log = logging.getLogger(__name__)


class Sweep:
    """Runs as a job between commands."""

    def __init__(self, settings: Settings, milvus: IndexStore, ownership: Ownership, health: Health) -> None:
        self._names = settings.names
        self._keep = settings.indexer.keep_releases
        self._milvus = milvus
        self._ownership = ownership
        self._store = ReleaseStore(settings.store)
        self._health = health

    def __call__(self, job: Job) -> None:
        """Sweep once; the next sweep does the rest of one that fails."""
        try:
            self._sweep(job)
            self._health.set("milvus", None)
        except MilvusError as error:
            self._health.set("milvus", str(error))
            log.warning("the sweep is put off: %s", error)
        except ReleaseError as error:
            log.warning("the sweep is put off: %s", error)

    def _sweep(self, job: Job) -> None:
        # 1. List the collections first: a collection on this list was not created by a successor.
        existing = self._milvus.list("")
        # 2. Commit nothing, which fails once the commands are another indexer's; then read every record.
        job.publish({})
        newer = newer_records(job.view, workers=True)
        self._health.set("upgrade", newer)
        if newer:
            log.warning("the sweep is put off: %s", newer)
            return
        # 3. Mark the collections that our records name, so that they are still ours when no record names them.
        self._ownership.adopt(job.view, existing)
        # 4. Remove collections from the records before they are dropped, so that no rollback can reach them.
        gone: dict[str, ReleaseRecord | None] = dict.fromkeys(forgotten_workers(job.view))
        gone |= releases_to_retire(job.view, self._names, self._keep)
        if gone:
            job.publish(gone)
        # 5. Drop the collections that carry our mark, and half-written vectors.
        for collection in unneeded_collections(job.view, self._names, existing):
            if self._ownership.drop(collection):
                log.info("dropped the collection %s, which is no longer needed", collection)
        self._store.remove_partial_vectors(self._ownership.tag)
        # 6. Report an active release without files: running workers go on, new ones could not load it.
        self._health.set("release", self._missing_files(job.view))

    def _missing_files(self, view: ReleasesView) -> str | None:
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

"""From a release in the store to a checked collection: build, check, keep the vectors."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from schemas.release import ReleaseCommand, ReleaseRecord, release_key
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import MilvusError
from worker.indexer.build import build_collection
from worker.indexer.checks import Checked, CheckError, check_collection, probe_queries
from worker.indexer.job import Job
from worker.indexer.ownership import Ownership
from worker.indexer.patience import patiently
from worker.indexer.reuse import known_vectors
from worker.indexer.transitions import begun
from worker.monitoring.http import Health
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.release.vectors import VectorsFile
from worker.retrieval.exact import StoredIndex
from worker.retrieval.milvus import Milvus, warm

log = logging.getLogger(__name__)

_ATTEMPTS = 5  # at building, each of which Milvus refused although it was there
_PROGRESS_SECONDS = 1.0


@dataclass(frozen=True)
class Built:
    """A collection that is whole, and the file of what went into it, by row of the catalogue."""

    record: ReleaseRecord
    collection: str
    vectors: Path


class Indexing:
    """Builds and checks collections, in the thread of a job."""

    def __init__(self, settings: Settings, milvus: Milvus, ownership: Ownership, health: Health) -> None:
        self._settings = settings
        self._milvus = milvus
        self._ownership = ownership
        self._health = health
        self._store = ReleaseStore(settings.store)

    def build(
        self, command: ReleaseCommand, loaded: Release, view: ReleasesView, folder: Path, job: Job
    ) -> Built:
        """Build until it is whole; each attempt has a collection of its own, published before it is made.

        The vectors go to a file in `folder`: of a large catalogue they are more than there should be in memory.

        Raises:
            CheckError: a tower gives values that are not finite, or Milvus refused every attempt.
        """
        names, release, refused = self._settings.names, loaded.manifest.release, ""
        known = known_vectors(self._store, loaded.manifest, view)
        for _ in range(_ATTEMPTS):
            record = begun(command, release, view.releases.get(release))
            view = job.publish({release_key(release): record})
            collection = names.collection(release, record.attempt)
            progress = _Progress(record, job)
            try:
                vectors = VectorsFile(
                    folder / f"{record.attempt}.npy", loaded.manifest.movies, loaded.manifest.dimension
                )
                with vectors:
                    build_collection(
                        self._milvus,
                        loaded,
                        collection,
                        vectors,
                        self._settings.indexer.batch_movies,
                        progress,
                        known,
                        self._ownership.owner,
                    )
            except MilvusError as error:
                # Some of the rows may be there and some not: only a new collection is sure to be whole.
                refused = str(error)
                log.warning("indexing %s begins again: %s", release, error)
                self._health.set("milvus", refused)
                patiently(job, self._health, lambda: self._milvus.collections(names.collection_prefix))
                self.drop(collection)
            else:
                self._finish(collection, loaded, job)
                return Built(progress.record, collection, vectors.path)
        raise CheckError(f"Milvus refused {_ATTEMPTS} attempts at building it; the last: {refused}")

    def check(self, loaded: Release, built: Built, job: Job) -> Checked:
        """Check the collection, over a connection that knows nothing of it, and warm it.

        Raises:
            CheckError: it must not serve.
        """
        queries = probe_queries(loaded, self._settings.indexer.probes)
        exact, collection = StoredIndex(loaded.movie_ids, built.vectors), built.collection
        kind = self._settings.indexer.index_for(loaded.manifest.movies)
        cold = Milvus(self._settings.milvus)
        try:
            found = patiently(
                job, self._health, lambda: check_collection(cold, collection, exact, queries, kind)
            )
            patiently(job, self._health, lambda: warm(cold, collection, queries))
        finally:
            cold.close()
        return found

    def drop(self, collection: str) -> None:
        """Drop a collection that nobody will use; what Milvus keeps from us now, the next sweep gets."""
        try:
            self._ownership.drop(collection)
        except MilvusError as error:
            log.warning("%s is left to the next sweep: %s", collection, error)

    def _finish(self, collection: str, loaded: Release, job: Job) -> None:
        metric, kind = loaded.manifest.metric, self._settings.indexer.index_for(loaded.manifest.movies)
        patiently(job, self._health, lambda: self._milvus.finish(collection, metric, kind))


class _Progress:
    """Publishes the share that is done, not more often than every second."""

    def __init__(self, record: ReleaseRecord, job: Job) -> None:
        self.record = record
        self._job = job
        self._published_at = time.monotonic()

    def __call__(self, share: float) -> None:
        self._job.check()
        self.record = self.record.model_copy(update={"progress": share})
        if time.monotonic() - self._published_at >= _PROGRESS_SECONDS:
            self._job.publish({release_key(self.record.release): self.record})
            self._published_at = time.monotonic()

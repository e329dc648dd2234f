"""From a release in the store to a checked collection."""

import hashlib
import logging
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.errors import SettingsError
from schemas.manifest import CATALOGUE_FILE, VOCABULARIES_FILE, Manifest
from schemas.release import ReleaseCommand, ReleaseRecord, release_key
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import MilvusError, ReleaseError
from worker.indexer import transitions
from worker.indexer.checks import Checked, CheckError, check_collection, compare_evaluations, probe_queries
from worker.indexer.job import Job
from worker.indexer.ownership import Ownership
from worker.release.catalogue import Catalogue
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.release.vectors import KnownVectors, VectorsFile, unit_length
from worker.retrieval.exact import StoredIndex
from worker.retrieval.index import IndexStore, IndexType, ItemIds, open_store, warm

log = logging.getLogger(__name__)

_STARTS = 5  # indexers that may die while they build for one command
_ATTEMPTS = 5  # collections that Milvus may fail to fill, although it is up
_PROGRESS_SECONDS = 1.0  # between two records with progress


class RefusedCommandError(Exception):
    """A command cannot be carried out; the message is the reason."""


@dataclass(frozen=True)
class Ready:
    """The record of a release that can be activated, and a sentence about its checks."""

    record: ReleaseRecord
    summary: str


@dataclass(frozen=True)
class _Attempt:
    """A new collection for a release, and the file of its vectors in the catalogue's order."""

    record: ReleaseRecord
    collection: str
    vectors: Path


class ReleaseBuilder:
    """Makes releases ready to serve, in the thread of a job."""

    def __init__(
        self, settings: Settings, milvus: IndexStore, ownership: Ownership, scratch: "ScratchFolders"
    ) -> None:
        self._settings = settings
        self._milvus = milvus
        self._ownership = ownership
        self._scratch = scratch
        self._store = ReleaseStore(settings.store)
        self._started: set[str] = set()  # ids of the commands that this process has started to build for

    def build(self, command: ReleaseCommand, release: str, job: Job) -> Ready:
        """Build a collection of its own for a release, check it, and publish `ready`.

        Raises:
            CheckError, ReleaseError: the release must not serve, or cannot; the active release is unchanged.
        """
        # 1. Count the start: a release that kills every indexer must not block the commands behind it.
        self._count_start(command, release, job)
        # 2. Check the hash of every file, in the store and of the local copies, and load the towers.
        loaded = self._load(release, job)
        with self._scratch.folder() as folder:
            # 3. Embed the catalogue in batches, and insert it into a new collection.
            built = self._fill(command, loaded, Path(folder), job)
            # 4. Flush, index and load the collection.
            metric, kind = loaded.manifest.metric, self._index_of(loaded)
            job.ask_milvus(lambda: self._milvus.finish(built.collection, metric, kind))
            try:
                # 5. Check the collection and warm it; compare the release with the active one.
                checked = self._check(loaded, built, job)
                compared = self.compare(command, release, job)
            except CheckError:
                self._drop(built.collection)
                raise
            # 6. Keep the vectors for exact search.
            sha256 = job.ask_store(
                lambda: self._store.keep_vectors(release, built.vectors, self._ownership.tag)
            )
        # 7. Publish `ready`: from here on the release is activated without a build.
        record = transitions.ready(built.record, built.collection, loaded.manifest, checked, sha256)
        job.publish({release_key(release): record})
        return Ready(record, f"{checked.summary}; {compared}")

    def recheck(self, release: str, job: Job) -> ReleaseRecord:
        """Check that the collection and the files of a release are whole; returns its record.

        Raises:
            RefusedCommandError: the release has no collection, or Milvus lost rows of it; a build may help.
            ReleaseError: the store lacks files, or they are corrupt: a worker that starts could not load them.
        """
        record = job.view.releases.get(release)
        remedy = f"index it: `marquee reindex {release}`"
        if record is None or (collection := record.collection) is None:
            raise RefusedCommandError(f"release {release} has no collection; {remedy}")
        if collection not in job.ask_milvus(lambda: self._milvus.list(collection)):
            raise RefusedCommandError(f"Milvus has lost the collection {collection}; {remedy}")
        rows = job.ask_milvus(lambda: self._milvus.count(collection))
        if rows != record.rows:
            raise RefusedCommandError(f"{collection} has {rows} rows instead of {record.rows}; {remedy}")
        job.ask_store(lambda: self._store.verify(release))
        return record

    def compare(self, command: ReleaseCommand, release: str, job: Job) -> str:
        """Compare the evaluations of a release and of the active one; returns a sentence.

        Raises:
            CheckError: the release is worse, and the command is not forced.
        """
        if command.action == "shadow":
            return "evaluations are not compared for a shadow, whose results reach no user"
        active = job.view.active.release if job.view.active else None
        if active == release:
            return "no other release is active to compare with"
        try:
            ours = job.ask_store(lambda: self._store.evaluation(release))
            theirs = job.ask_store(lambda: self._store.evaluation(active)) if active else None
            compared = compare_evaluations(ours, theirs, self._settings.indexer.evaluation_tolerance)
        except (CheckError, ReleaseError) as error:
            if not command.force:
                raise CheckError(str(error)) from None
            return f"forced, although {error}"
        return compared if active else "no other release is active to compare with"

    def _count_start(self, command: ReleaseCommand, release: str, job: Job) -> None:
        if command.command_id in self._started:
            return  # this process lost Kafka and did not die
        record = transitions.started(command, release, job.view.releases.get(release))
        if record.tries > _STARTS:
            raise CheckError(
                f"{_STARTS} indexers have begun to build it and ended before it was done; see their logs (was there enough "
                "memory?), and send the command again"
            )
        self._started.add(command.command_id)
        job.publish({release_key(release): record})

    def _load(self, release: str, job: Job) -> Release:
        worker = self._settings.worker
        job.ask_store(lambda: self._store.verify(release))
        return job.ask_store(
            lambda: self._store.load(release, device=worker.device, threads=worker.embed_threads)
        )

    def _fill(self, command: ReleaseCommand, loaded: Release, folder: Path, job: Job) -> _Attempt:
        """Fill a collection; each attempt has its own collection, named in `releases` before it is created.

        Raises:
            CheckError: the tower or the catalogue is at fault, or Milvus failed in every attempt.
        """
        manifest, failed = loaded.manifest, ""
        known = known_vectors(self._store, manifest, job.view)
        for _ in range(_ATTEMPTS):
            attempt = self._begin_attempt(command, manifest.release, folder, job)
            try:
                self._insert(loaded, known, attempt, job)
            except MilvusError as error:
                # Milvus may have taken some of the rows: only a new collection is certain to be whole.
                failed = str(error)
                log.warning("filling %s failed: %s", attempt.collection, error)
                job.ask_milvus(lambda: self._milvus.list(self._settings.names.collection_prefix))
                self._drop(attempt.collection)
            else:
                return attempt
        raise CheckError(f"Milvus refused {_ATTEMPTS} attempts at building it; the last: {failed}")

    def _begin_attempt(self, command: ReleaseCommand, release: str, folder: Path, job: Job) -> _Attempt:
        record = transitions.attempted(command, release, job.view.releases.get(release))
        job.publish({release_key(release): record})
        collection = self._settings.names.collection(release, record.attempt)
        return _Attempt(record, collection, folder / f"{record.attempt}.npy")

    def _insert(self, loaded: Release, known: KnownVectors | None, attempt: _Attempt, job: Job) -> None:
        """Embed and insert the catalogue; memory holds one batch of it.

        Raises:
            CheckError: the tower or the catalogue is at fault.
            MilvusError: the collection may lack rows.
        """
        manifest, published_at = loaded.manifest, time.monotonic()
        self._milvus.create(attempt.collection, manifest.dimension, self._ownership.owner)
        with VectorsFile(attempt.vectors, manifest.movies, manifest.dimension) as vectors:
            for movies, embedded in loaded.embedded_movies(self._settings.indexer.batch_movies, known):
                scaled = unit_length(embedded, manifest)
                if not np.isfinite(scaled).all():
                    raise CheckError("the movie tower gives values that are not finite")
                vectors.append(scaled)
                self._milvus.insert(attempt.collection, movies, scaled)
                job.check()
                if time.monotonic() - published_at >= _PROGRESS_SECONDS:
                    published_at = time.monotonic()
                    done = {"progress": min(1.0, vectors.written / manifest.movies)}
                    job.publish({release_key(manifest.release): attempt.record.model_copy(update=done)})
        if vectors.written != manifest.movies:
            raise CheckError(
                f"the catalogue has {vectors.written} movies, and the manifest says {manifest.movies}"
            )

    def _check(self, loaded: Release, built: _Attempt, job: Job) -> Checked:
        """Check and warm a collection over a new connection, which has cached nothing of it."""
        queries = probe_queries(loaded, self._settings.indexer.probes)
        exact, items = StoredIndex(built.vectors), ItemIds(loaded.movie_ids)
        kind = self._index_of(loaded)
        cold = open_store(self._settings)
        try:
            checked = job.ask_milvus(
                lambda: check_collection(cold, built.collection, items, exact, queries, kind)
            )
            job.ask_milvus(lambda: warm(cold.index(built.collection, items), queries))
        finally:
            cold.close()
        return checked

    def _index_of(self, loaded: Release) -> IndexType:
        return self._settings.indexer.index_for(loaded.manifest.movies)

    def _drop(self, collection: str) -> None:
        try:
            self._ownership.drop(collection)
        except MilvusError as error:
            log.warning("%s is left to the next sweep: %s", collection, error)


class ScratchFolders:
    """Temporary folders for builds; no two live processes share a `scope`."""

    def __init__(self, scope: str) -> None:
        self._prefix = f"marquee-{hashlib.sha256(scope.encode()).hexdigest()[:16]}-"

    def folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix=self._prefix)

    def clear(self) -> None:
        """Remove the folders of a predecessor that died; a large catalogue leaves hundreds of megabytes.

        Raises:
            SettingsError: the temporary folder cannot be written to.
        """
        try:
            for folder in Path(tempfile.gettempdir()).glob(f"{self._prefix}*"):
                shutil.rmtree(folder, ignore_errors=True)
            self.folder().cleanup()
        except OSError as error:
            raise SettingsError(
                f"the indexer cannot write to the temporary folder ({error}): set TMPDIR to one that it can write to"
            ) from None


def known_vectors(store: ReleaseStore, manifest: Manifest, view: ReleasesView) -> KnownVectors | None:
    """The kept vectors of the release that this one extends, if both have the same movie tower."""
    if manifest.extends is None:
        return None
    record = view.releases.get(manifest.extends)
    if record is None or record.vectors_sha256 is None:
        log.info("release %s was not indexed here: its movies are embedded again", manifest.extends)
        return None
    try:
        before = store.manifest(manifest.extends)
        if not _same_tower(before, manifest):
            log.warning("release %s has another movie tower than %s", manifest.extends, manifest.release)
            return None
        movie_ids = Catalogue.read_ids(store.fetch(before, [CATALOGUE_FILE]) / CATALOGUE_FILE)
        return KnownVectors(movie_ids, store.read_vectors(manifest.extends, record.vectors_sha256))
    except ReleaseError as error:
        log.warning("embedding all movies: %s", error)
        return None


def _same_tower(one: Manifest, other: Manifest) -> bool:
    """Whether both releases embed a movie alike, by the hashes of tower and vocabularies."""

    def files(manifest: Manifest) -> list[object]:
        tower = manifest.towers.movie
        return [manifest.files[name] for name in (tower.program, tower.parameters, VOCABULARIES_FILE)]

    return files(one) == files(other)

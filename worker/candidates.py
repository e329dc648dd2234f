"""Releases that could serve: built and checked from the store, or looked after once more where they were built before."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.release import ReleaseCommand, ReleaseRecord, release_key
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker import transitions
from worker.checks import CheckError, compare_evaluations
from worker.errors import ReleaseError
from worker.http import Health
from worker.indexing import Indexing
from worker.job import Job
from worker.milvus import Milvus
from worker.patience import patiently
from worker.scratch import Scratch
from worker.store import ReleaseStore


class RefusedCommandError(Exception):
    """A command that cannot be carried out; says why."""


@dataclass(frozen=True)
class Candidate:
    """A release that can serve, what is published by then, and what its checks found."""

    record: ReleaseRecord
    view: ReleasesView
    summary: str


class Candidates:
    """Makes releases ready, in the thread of a job."""

    def __init__(
        self, settings: Settings, milvus: Milvus, store: ReleaseStore, scratch: Scratch, health: Health
    ) -> None:
        self._settings = settings
        self._milvus = milvus
        self._store = store
        self._scratch = scratch
        self._health = health
        self._indexing = Indexing(settings, milvus, health)

    def build(
        self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job, evaluate: Callable[[], str]
    ) -> Candidate:
        """From the store to a checked collection of its own, and the record `ready`.

        Raises:
            CheckError, ReleaseError: it must not serve, or cannot; nothing has changed.
        """
        # 1. Load the release: every hash is checked.
        worker = self._settings.worker
        loaded = self._store.load(release, device=worker.device, threads=worker.embed_threads)
        with self._scratch.folder() as folder:
            # 2. Build a collection of its own name.
            built = self._indexing.build(command, loaded, view, Path(folder), job)
            # 3. Check it, and compare the release with the active one.
            try:
                checked = self._indexing.check(loaded, built, job)
                compared = evaluate()
            except CheckError:
                self._indexing.drop(built.collection)
                raise
            # 4. Keep the vectors, for exact search.
            sha256 = self._store.keep_vectors(release, built.vectors)
        # 5. `ready`: from here on it can be activated without being built.
        record = transitions.ready(built.record, built.collection, loaded.manifest, checked, sha256)
        view = job.publish({release_key(release): record})
        return Candidate(record, view, f"{checked.summary}; {compared}")

    def again(self, release: str, view: ReleasesView, job: Job) -> ReleaseRecord:
        """The record of a release whose collection is whole.

        Raises:
            RefusedCommandError: it has none, or not any more.
        """
        record = view.releases.get(release)
        again = f"index it: `marquee reindex {release}`"
        if record is None or record.collection is None:
            raise RefusedCommandError(f"release {release} has no collection; {again}")
        collection = record.collection
        if collection not in patiently(job, self._health, lambda: self._milvus.collections(collection)):
            raise RefusedCommandError(f"Milvus has lost the collection {collection}; {again}")
        rows = patiently(job, self._health, lambda: self._milvus.rows(collection))
        if rows != record.rows:
            raise RefusedCommandError(f"{collection} has {rows} rows instead of {record.rows}; {again}")
        return record

    def evaluate(self, release: str, view: ReleasesView, force: bool) -> str:
        """Compare with the active release; a forced command passes, and says over what."""
        active = view.active.release if view.active else None
        if active is None or active == release:
            return "no other release is active to compare with"
        try:
            return compare_evaluations(
                self._store.evaluation(release),
                self._store.evaluation(active),
                self._settings.indexer.evaluation_tolerance,
            )
        except (CheckError, ReleaseError) as error:
            if not force:
                raise CheckError(str(error)) from None
            return f"forced, although {error}"

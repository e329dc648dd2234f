"""Releases that could serve: built and checked from the store, or looked after once more where they were built before."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from schemas.release import ReleaseCommand, ReleaseRecord, release_key
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import ReleaseError
from worker.indexer import transitions
from worker.indexer.checks import CheckError, compare_evaluations
from worker.indexer.indexing import Indexing
from worker.indexer.job import Job
from worker.indexer.ownership import Ownership
from worker.indexer.patience import patiently, while_store_is_away
from worker.indexer.scratch import Scratch
from worker.monitoring.http import Health
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus

T = TypeVar("T")

_TRIES = 5  # indexers that may end over one command


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
        self,
        settings: Settings,
        milvus: Milvus,
        ownership: Ownership,
        store: ReleaseStore,
        scratch: Scratch,
        health: Health,
    ) -> None:
        self._settings = settings
        self._milvus = milvus
        self._store = store
        self._scratch = scratch
        self._health = health
        self._ownership = ownership
        self._indexing = Indexing(settings, milvus, ownership, health)
        self._begun: set[str] = set()  # ids of the commands that this process has begun to build for

    def build(
        self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job, evaluate: Callable[[], str]
    ) -> Candidate:
        """From the store to a checked collection of its own, and the record `ready`.

        Raises:
            CheckError, ReleaseError: it must not serve, or cannot; nothing has changed.
        """
        # 1. Say that it is begun, which counts the indexers that die of it: what comes after it must not wait for ever.
        view = self._begin(command, release, view, job)
        # 2. Load the release: every hash is checked, in the store and of what is loaded.
        self._verify(release, job)
        worker = self._settings.worker
        loaded = self._from_store(
            job, lambda: self._store.load(release, device=worker.device, threads=worker.embed_threads)
        )
        with self._scratch.folder() as folder:
            # 3. Build a collection of its own name.
            built = self._indexing.build(command, loaded, view, Path(folder), job)
            # 4. Check it, and compare the release with the active one.
            try:
                checked = self._indexing.check(loaded, built, job)
                compared = evaluate()
            except CheckError:
                self._indexing.drop(built.collection)
                raise
            # 5. Keep the vectors, for exact search.
            sha256 = self._from_store(
                job, lambda: self._store.keep_vectors(release, built.vectors, self._ownership.tag)
            )
        # 6. `ready`: from here on it can be activated without being built.
        record = transitions.ready(built.record, built.collection, loaded.manifest, checked, sha256)
        view = job.publish({release_key(release): record})
        return Candidate(record, view, f"{checked.summary}; {compared}")

    def _begin(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> ReleasesView:
        if command.command_id in self._begun:
            return view  # by this process, which has lost Kafka and not its life
        record = transitions.tried_again(command, release, view.releases.get(release))
        if record.tries > _TRIES:
            raise CheckError(
                f"{_TRIES} indexers have begun to build it and ended before it was done; see their logs (was there enough "
                "memory?), and send the command again"
            )
        self._begun.add(command.command_id)
        return job.publish({release_key(release): record})

    def again(self, release: str, view: ReleasesView, job: Job) -> ReleaseRecord:
        """The record of a release whose collection and files are whole.

        Raises:
            RefusedCommandError: it has no collection, or not any more; building it may help.
            ReleaseError: the store lacks its files, or they are corrupt: a worker that starts could not serve it.
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
        self._verify(release, job)
        return record

    def _verify(self, release: str, job: Job) -> None:
        self._from_store(job, lambda: self._store.verify(release))

    def _from_store(self, job: Job, call: Callable[[], T]) -> T:
        return while_store_is_away(job, self._health, call)

    def evaluate(self, release: str, view: ReleasesView, force: bool, job: Job) -> str:
        """Compare with the active release; a forced command passes, and says over what."""
        active = view.active.release if view.active else None
        if active == release:
            return "no other release is active to compare with"
        try:
            ours = self._from_store(job, lambda: self._store.evaluation(release))
            theirs = self._from_store(job, lambda: self._store.evaluation(active)) if active else None
            compared = compare_evaluations(ours, theirs, self._settings.indexer.evaluation_tolerance)
            return compared if active else "no other release is active to compare with"
        except (CheckError, ReleaseError) as error:
            if not force:
                raise CheckError(str(error)) from None
            return f"forced, although {error}"

"""What each release command does, step by step. Every step that others see is one transaction."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeVar

from schemas.errors import SettingsError
from schemas.release import (
    ACTIVE_KEY,
    ActiveRecord,
    CommandOutcome,
    ReleaseCommand,
    ReleaseRecord,
    ReleaseState,
    now,
    release_key,
)
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.build import build_collection
from worker.checks import CheckError, check_collection, compare_evaluations, probe_queries, warm
from worker.errors import AbandonedError, MilvusError, ReleaseError
from worker.http import Health
from worker.job import Job
from worker.milvus import Milvus, Vectors
from worker.release import Release
from worker.retention import forgotten_workers, releases_to_retire, unneeded_collections
from worker.store import ReleaseStore

log = logging.getLogger(__name__)
T = TypeVar("T")

_OUTCOMES_KEPT = 50  # of a release: a command is known for seen as long as its outcome is kept
_ATTEMPTS = 5  # at building, each of which Milvus refused although it was there
_PROGRESS_SECONDS = 1.0
_FIRST_BACKOFF_SECONDS = 0.2
_LONGEST_BACKOFF_SECONDS = 5.0


class RefusedCommandError(Exception):
    """A command that cannot be carried out; says why."""


class Commands:
    """Carries commands out, in the thread of a job."""

    def __init__(self, settings: Settings, milvus: Milvus, health: Health) -> None:
        self._settings = settings
        self._names = settings.names
        self._milvus = milvus
        self._health = health
        self._store = ReleaseStore(settings.store)

    def carry_out(self, command: ReleaseCommand, view: ReleasesView, job: Job) -> None:
        """Do what the command says, or nothing; either way its outcome is published with the place after it."""
        release = _subject(command, view)
        if release is None:
            log.warning("%s %s: no release is named, and none is active", command.action, command.command_id)
            job.publish({}, done=True)
            return
        ignored = _reason_to_ignore(command, view)
        if ignored:
            self._close(command, release, view, job, "ignored", ignored)
            return
        try:
            self._act(command, release, view, job)
        except (AbandonedError, SettingsError):
            raise
        except (RefusedCommandError, CheckError, ReleaseError, OSError) as error:
            self._close(command, release, job.publish({}), job, "refused", str(error))
        except Exception as error:
            log.exception("%s %s", command.action, release)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            self._close(command, release, job.publish({}), job, "refused", reason)

    def sweep(self, job: Job) -> None:
        """Drop what nobody needs: half-built collections, releases beyond those kept, records of dead workers."""
        keep = self._settings.indexer.keep_releases
        try:
            # 1. What is there, before asking who we are: what is listed was not made by a successor.
            there = self._milvus.collections(self._names.collection_prefix)
            # 2. Take collections out of the records first, so that nobody goes back to what is being dropped.
            view = job.publish({})
            gone: dict[str, ReleaseRecord | None] = dict.fromkeys(forgotten_workers(view))
            gone |= releases_to_retire(view, self._names, keep)
            if gone:
                view = job.publish(gone)
            # 3. Drop.
            for collection in unneeded_collections(view, self._names, there):
                log.info("dropping the collection %s: nobody needs it", collection)
                self._milvus.drop(collection)
            self._health.set("milvus", None)
        except MilvusError as error:
            self._health.set("milvus", str(error))
            log.warning("cleaning up is put off: %s", error)

    def _act(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> None:
        match command.action:
            case "index":
                self._index(command, release, view, job)
            case "activate":
                summary = self._evaluate(release, view, command.force)
                self._activate(command, self._ready_again(release, view, job), view, job, summary)
            case "rollback":
                self._activate(command, self._ready_again(release, view, job), view, job, "went back")
            case "retire":
                self._retire(command, release, view, job)
            case "shadow" | "canary" | "end":
                raise RefusedCommandError(f"{command.action} is not supported yet")

    def _index(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> None:
        # 1. A predecessor may have come as far as `ready` with this very command.
        record = view.releases.get(release)
        if record and record.command_id == command.command_id and record.state == ReleaseState.READY:
            self._activate(command, self._ready_again(release, view, job), view, job, "checked before")
            return
        # 2. Load the release: every hash is checked.
        loaded = self._store.load(
            release, device=self._settings.worker.device, threads=self._settings.worker.embed_threads
        )
        # 3. Build a collection of its own name.
        record, vectors = self._build(command, loaded, view, job)
        collection = self._names.collection(release, record.attempt)
        # 4. Check it, over a connection that knows nothing of it, and compare the release with the active one.
        try:
            summary = self._check(loaded, collection, vectors, job)
            view = job.publish({})
            summary = f"{summary}; {self._evaluate(release, view, command.force)}"
        except CheckError:
            self._drop(collection)
            raise
        # 5. Keep the vectors, for exact search.
        sha256 = self._store.write_vectors(release, vectors)
        # 6. `ready`: from here on it can be activated without being built.
        record = record.model_copy(
            update={
                "state": ReleaseState.READY,
                "reason": None,
                "progress": 1.0,
                "collection": collection,
                "rows": len(vectors),
                "dimension": loaded.manifest.dimension,
                "vectors_sha256": sha256,
                "ready_at": now(),
            }
        )
        view = job.publish({release_key(release): record})
        # 7. `active`, last.
        self._activate(command, record, view, job, summary)

    def _build(
        self, command: ReleaseCommand, loaded: Release, view: ReleasesView, job: Job
    ) -> tuple[ReleaseRecord, Vectors]:
        """Build until it is whole; each attempt has a collection of its own, published before it is made."""
        release = loaded.manifest.release
        refused = ""
        for _ in range(_ATTEMPTS):
            record = _begun(command, release, view.releases.get(release))
            view = job.publish({release_key(release): record})
            collection = self._names.collection(release, record.attempt)
            progress = _Progress(record, job)
            try:
                vectors = build_collection(
                    self._milvus, loaded, collection, self._settings.indexer.batch_movies, progress
                )
            except MilvusError as error:
                refused = str(error)
                log.warning("indexing %s begins again: %s", release, error)
                self._health.set("milvus", refused)
                self._patiently(job, lambda: self._milvus.collections(self._names.collection_prefix))
                self._drop(collection)
                view = job.publish({})
                continue
            rows, metric = len(vectors), loaded.manifest.metric
            self._patiently(job, lambda: self._milvus.finish(collection, rows, metric))  # noqa: B023  called at once
            return progress.record, vectors
        raise RefusedCommandError(f"Milvus refused {_ATTEMPTS} attempts at building it; the last: {refused}")

    def _check(self, loaded: Release, collection: str, vectors: Vectors, job: Job) -> str:
        queries = probe_queries(loaded, self._settings.indexer.probes)
        cold = Milvus(self._settings.milvus)
        try:
            found = self._patiently(
                job,
                lambda: check_collection(cold, collection, loaded.catalogue.movie_ids, vectors, queries),
            )
            self._patiently(job, lambda: warm(cold, collection, queries))
        finally:
            cold.close()
        return found

    def _evaluate(self, release: str, view: ReleasesView, force: bool) -> str:
        """Compare with the active release; a forced command passes, and says over what."""
        active = view.active.release if view.active else None
        if active in (None, release):
            return "no other release is active to compare with"
        try:
            return compare_evaluations(
                self._evaluation(release),
                self._evaluation(active),
                self._settings.indexer.evaluation_tolerance,
            )
        except (CheckError, ReleaseError) as error:
            if not force:
                raise CheckError(str(error)) from None
            return f"forced, although {error}"

    def _evaluation(self, release: str | None) -> dict[str, Any] | None:
        return self._store.evaluation(release) if release else None

    def _ready_again(self, release: str, view: ReleasesView, job: Job) -> ReleaseRecord:
        """The record of a release whose collection is whole.

        Raises:
            RefusedCommandError: it has none, or not any more.
        """
        record = view.releases.get(release)
        again = f"index it: `marquee reindex {release}`"
        if record is None or record.collection is None:
            raise RefusedCommandError(f"release {release} has no collection; {again}")
        collection = record.collection
        there = self._patiently(job, lambda: self._milvus.collections(collection))
        if collection not in there:
            raise RefusedCommandError(f"Milvus has lost the collection {collection}; {again}")
        rows = self._patiently(job, lambda: self._milvus.rows(collection))
        if rows != record.rows:
            raise RefusedCommandError(f"{collection} has {rows} rows instead of {record.rows}; {again}")
        return record

    def _activate(
        self, command: ReleaseCommand, record: ReleaseRecord, view: ReleasesView, job: Job, summary: str
    ) -> None:
        """Publish that the release serves: its own record, that of the one it replaces, and `active` last."""
        active, at = view.active, now()
        assert record.collection is not None
        if active and active.collection == record.collection:
            self._close(command, record.release, view, job, "ignored", "it is active already")
            return
        records: dict[str, ReleaseRecord | ActiveRecord] = {
            release_key(record.release): _with_outcome(
                record.model_copy(
                    update={"state": ReleaseState.ACTIVE, "active_at": at, "command_id": command.command_id}
                ),
                command,
                "done",
                summary,
            )
        }
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
        job.publish(records, done=True)
        log.info("release %s is active, epoch %d: %s", record.release, view.epoch + 1, summary)
        try:
            self._milvus.point_alias(self._names.active_alias, record.collection)
        except MilvusError as error:
            log.warning("the alias for people stays behind: %s", error)

    def _retire(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> None:
        """Give the collection up; the sweep that follows drops it when no live worker serves from it."""
        record = view.releases.get(release)
        if record is None:
            raise RefusedCommandError(f"release {release} was never indexed")
        if view.active and view.active.release == release:
            raise RefusedCommandError(f"release {release} is active; activate another one first")
        record = record.model_copy(
            update={"state": ReleaseState.RETIRED, "collection": None, "retired_at": now()}
        )
        job.publish({release_key(release): _with_outcome(record, command, "done")}, done=True)
        log.info("release %s is retired", release)

    def _close(
        self,
        command: ReleaseCommand,
        release: str,
        view: ReleasesView,
        job: Job,
        outcome: Literal["refused", "ignored"],
        reason: str,
    ) -> None:
        """Publish that a command changed nothing. A release that has no collection to go back to is rejected."""
        log.warning("%s of release %s is %s: %s", command.action, release, outcome, reason)
        record = view.releases.get(release) or ReleaseRecord(release=release, state=ReleaseState.REJECTED)
        rejected = outcome == "refused" and record.collection is None and command.action == "index"
        if rejected or release not in view.releases:
            record = record.model_copy(
                update={"state": ReleaseState.REJECTED, "reason": reason, "rejected_at": now()}
            )
        job.publish({release_key(release): _with_outcome(record, command, outcome, reason)}, done=True)

    def _drop(self, collection: str) -> None:
        try:
            self._milvus.drop(collection)
        except MilvusError as error:
            log.warning("%s is left to the next sweep: %s", collection, error)

    def _patiently(self, job: Job, call: Callable[[], T]) -> T:
        """Repeat a call for as long as Milvus is away."""
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            try:
                result = call()
            except MilvusError as error:
                self._health.set("milvus", str(error))
                log.warning("waiting for Milvus: %s", error)
                job.wait(backoff)
                backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)
            else:
                self._health.set("milvus", None)
                job.check()
                return result


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


def _subject(command: ReleaseCommand, view: ReleasesView) -> str | None:
    """The release that a command is about; where none is named, the one before the active one, or that itself."""
    if command.release or view.active is None:
        return command.release
    return (
        view.active.previous if command.action == "rollback" and view.active.previous else view.active.release
    )


def _reason_to_ignore(command: ReleaseCommand, view: ReleasesView) -> str | None:
    seen = view.outcome(command.command_id)
    if seen:
        record, outcome = seen
        return (
            f"it was seen before, and {outcome.outcome} for release {record.release} at {_time(outcome.at)}"
        )
    if command.expected_epoch is not None and command.expected_epoch != view.epoch:
        return f"it expected epoch {command.expected_epoch}, and epoch {view.epoch} is active"
    if command.action == "rollback" and view.active and not (command.release or view.active.previous):
        return "no release was active before this one"
    return None


def _begun(command: ReleaseCommand, release: str, before: ReleaseRecord | None) -> ReleaseRecord:
    """The record of a new attempt. A release with a collection keeps it and its state until the new one is ready."""
    record = before or ReleaseRecord(release=release, state=ReleaseState.INDEXING)
    begun = {
        "attempt": record.attempt + 1,
        "progress": 0.0,
        "indexing_at": now(),
        "command_id": command.command_id,
    }
    if record.collection is None:
        begun |= {"state": ReleaseState.INDEXING, "reason": None}
    return record.model_copy(update=begun)


def _with_outcome(
    record: ReleaseRecord,
    command: ReleaseCommand,
    outcome: Literal["done", "refused", "ignored"],
    reason: str | None = None,
) -> ReleaseRecord:
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


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

"""The effect of each release command. Every step that others see is one transaction."""

import logging
from typing import Literal

from schemas.errors import SettingsError
from schemas.names import Names
from schemas.release import RECORD_FORMAT, TRIAL_KEY, WORKER_KEY_PREFIX, ReleaseCommand, release_key
from schemas.releases import ReleasesView
from worker.errors import AbandonedError, MilvusError, ReleaseError
from worker.indexer import transitions
from worker.indexer.build import Ready, RefusedCommandError, ReleaseBuilder
from worker.indexer.checks import CheckError
from worker.indexer.job import Job
from worker.retrieval.index import IndexStore

log = logging.getLogger(__name__)


class Commands:
    """Carries commands out, in the thread of a job."""

    def __init__(self, names: Names, milvus: IndexStore, builder: ReleaseBuilder) -> None:
        self._names = names
        self._milvus = milvus
        self._builder = builder

    def carry_out(self, command: ReleaseCommand, job: Job) -> None:
        """Carry a command out whole or not at all, and publish its status with the offset after it."""
        # 1. Find the release.
        release, newer = subject(command, job.view), newer_records(job.view)
        if release is None or release_key(release) in job.view.newer:
            reason = newer or "no release is named, and none is active"
            log.warning("%s %s is skipped: %s", command.action, command.command_id, reason)
            job.publish({}, done=True)
            return None
        # 2. Refuse or ignore a command that must not change anything.
        if newer:
            return self._change_nothing(command, release, job, "refused", newer)
        if reason_to_ignore := ignored_because(command, job.view):
            return self._change_nothing(command, release, job, "ignored", reason_to_ignore)
        # 3. Carry it out.
        try:
            self._act(command, release, job)
        except (AbandonedError, SettingsError):
            raise
        except (RefusedCommandError, CheckError, ReleaseError, OSError) as error:
            self._change_nothing(command, release, job, "refused", str(error))
        except Exception as error:
            # Paddle raises all kinds of errors on a program that it cannot run; the next command may succeed.
            log.exception("%s %s", command.action, release)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            self._change_nothing(command, release, job, "refused", reason)

    def _act(self, command: ReleaseCommand, release: str, job: Job) -> None:
        match command.action:
            case "index":
                self._index(command, release, job)
            case "activate":
                record = self._builder.recheck(release, job)
                self._activate(command, Ready(record, self._builder.compare(command, release, job)), job)
            case "rollback":
                self._activate(command, Ready(self._builder.recheck(release, job), "went back"), job)
            case "retire":
                self._retire(command, release, job)
            case "shadow" | "canary":
                self._try(command, command.action, release, job)
            case "end":
                self._end(command, release, job)

    def _index(self, command: ReleaseCommand, release: str, job: Job) -> None:
        """Build, then activate; a predecessor may have died between the two."""
        built = transitions.is_built_for(command, job.view.releases.get(release))
        make_ready = self._ready if built else self._builder.build
        self._activate(command, make_ready(command, release, job), job)

    def _ready(self, command: ReleaseCommand, release: str, job: Job) -> Ready:
        """A release that has a collection as it is, any other one after a build."""
        try:
            record = self._builder.recheck(release, job)
        except RefusedCommandError as error:
            log.info("building %s for %s: %s", release, command.action, error)
            return self._builder.build(command, release, job)
        return Ready(record, self._builder.compare(command, release, job))

    def _activate(self, command: ReleaseCommand, ready: Ready, job: Job) -> None:
        """Publish `active`, then point the alias for people at the collection."""
        record, view = ready.record, job.view
        assert record.collection is not None
        if view.active and view.active.collection == record.collection:
            return self._change_nothing(command, record.release, job, "ignored", "it is active already")
        job.publish(transitions.activated(command, record, view, ready.summary), done=True)
        log.info("release %s is active, epoch %d: %s", record.release, job.view.epoch, ready.summary)
        try:
            self._milvus.alias(self._names.active_alias, record.collection)
        except MilvusError as error:
            log.warning("the alias for people still points at the previous collection: %s", error)

    def _try(
        self, command: ReleaseCommand, kind: Literal["shadow", "canary"], release: str, job: Job
    ) -> None:
        """Put a candidate on trial beside the active release."""
        active = job.view.active
        if command.share is None:
            raise RefusedCommandError(f"a {kind} needs a share")
        if active is None:
            raise RefusedCommandError(f"no release is active for a {kind} to stand beside")
        if active.release == release:
            raise RefusedCommandError(f"release {release} is active: only another one can be tried beside it")
        ready = self._ready(command, release, job)
        records = transitions.tried(command, kind, command.share, ready.record, job.view, ready.summary)
        job.publish(records, done=True)
        log.info("release %s is on trial: %s, share %g", release, kind, command.share)

    def _end(self, command: ReleaseCommand, release: str, job: Job) -> None:
        """End the trial; the candidate stays ready."""
        trial = job.view.trial
        if trial is None:
            raise RefusedCommandError("no release is on trial")
        if trial.release != release:
            raise RefusedCommandError(f"release {release} is not on trial, {trial.release} is")
        reason = f"its {trial.kind} has ended"
        record = transitions.with_status(job.view.releases[release], command, "done", reason)
        job.publish({release_key(release): record, TRIAL_KEY: None}, done=True)
        log.info("the %s of release %s has ended", trial.kind, release)

    def _retire(self, command: ReleaseCommand, release: str, job: Job) -> None:
        """Give the collection up; the next sweep drops it once no live worker serves from it."""
        view, record = job.view, job.view.releases.get(release)
        if record is None:
            raise RefusedCommandError(f"release {release} was never indexed")
        if view.active and view.active.release == release:
            raise RefusedCommandError(f"release {release} is active; activate another one first")
        if view.trial and view.trial.release == release:
            raise RefusedCommandError(f"release {release} is on trial; end that first")
        retired = transitions.with_status(transitions.retired(record), command, "done")
        job.publish({release_key(release): retired}, done=True)
        log.info("release %s is retired", release)

    def _change_nothing(
        self,
        command: ReleaseCommand,
        release: str,
        job: Job,
        status: Literal["refused", "ignored"],
        reason: str,
    ) -> None:
        log.warning("%s of release %s is %s: %s", command.action, release, status, reason)
        record = transitions.unchanged(command, release, job.view.releases.get(release), status, reason)
        job.publish({release_key(release): record}, done=True)


def subject(command: ReleaseCommand, view: ReleasesView) -> str | None:
    """The release that a command names, or else the one on trial, before the active one, or active."""
    if command.release:
        return command.release
    if command.action == "end" and view.trial:
        return view.trial.release
    if view.active is None:
        return None
    previous = view.active.previous if command.action == "rollback" else None
    return previous or view.active.release


def ignored_because(command: ReleaseCommand, view: ReleasesView) -> str | None:
    """The reason to ignore a command: it was carried out before, or its epoch has passed."""
    seen = view.outcome(command.command_id)
    if seen:
        record, status = seen
        at = f"{status.at:%Y-%m-%d %H:%M:%S} UTC"
        return f"it was seen before, and {status.outcome} for release {record.release} at {at}"
    if command.expected_epoch is not None and command.expected_epoch != view.epoch:
        return f"it expected epoch {command.expected_epoch}, and epoch {view.epoch} is active"
    if command.action == "rollback" and view.active and not (command.release or view.active.previous):
        return "no release was active before this one"
    return None


def newer_records(view: ReleasesView, *, workers: bool = False) -> str | None:
    """The reason not to write states of releases, or with `workers` not to drop a collection.

    Records in a newer format may contain collections and epochs that no other record does.
    """
    newer = [key for key in view.newer if workers or not key.startswith(WORKER_KEY_PREFIX)]
    if not newer:
        return None
    return (
        f"a newer version has written {', '.join(sorted(newer))}, and this one reads format {RECORD_FORMAT}: "
        "upgrade this indexer"
    )

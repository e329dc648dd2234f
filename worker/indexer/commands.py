"""What each release command does, step by step. Every step that others see is one transaction."""

import logging
from typing import Literal

from schemas.errors import SettingsError
from schemas.names import Names
from schemas.release import TRIAL_KEY, ReleaseCommand, ReleaseRecord, release_key
from schemas.releases import ReleasesView
from worker.errors import AbandonedError, MilvusError, ReleaseError
from worker.indexer import admission, transitions
from worker.indexer.candidates import Candidate, Candidates, RefusedCommandError
from worker.indexer.checks import CheckError
from worker.indexer.job import Job
from worker.retrieval.milvus import Milvus

log = logging.getLogger(__name__)

Outcome = Literal["refused", "ignored"]


class Commands:
    """Carries commands out, in the thread of a job."""

    def __init__(self, names: Names, milvus: Milvus, candidates: Candidates) -> None:
        self._names = names
        self._milvus = milvus
        self._candidates = candidates

    def carry_out(self, command: ReleaseCommand, view: ReleasesView, job: Job) -> None:
        """Do what the command says, or nothing; either way its outcome is published with the place after it."""
        # 1. Which release?
        release, newer = admission.subject(command, view), admission.newer_records(view)
        if release is None or admission.is_newer(release, view):
            reason = newer or "no release is named, and none is active"
            log.warning("%s %s is skipped: %s", command.action, command.command_id, reason)
            job.publish({}, done=True)
            return
        # 2. Is there anything to be done?
        ignored = admission.reason_to_ignore(command, view)
        if newer or ignored:
            outcome: Outcome = "refused" if newer else "ignored"
            self._change_nothing(command, release, view, job, outcome, newer or ignored or "")
            return
        # 3. Do it.
        try:
            self._act(command, release, view, job)
        except (AbandonedError, SettingsError):
            raise
        except (RefusedCommandError, CheckError, ReleaseError, OSError) as error:
            self._change_nothing(command, release, job.publish({}), job, "refused", str(error))
        except Exception as error:
            # Paddle, for one, raises what it likes on a program that it cannot run: the next command may be well.
            log.exception("%s %s", command.action, release)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            self._change_nothing(command, release, job.publish({}), job, "refused", reason)

    def _act(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> None:
        match command.action:
            case "index":
                self._index(command, release, view, job)
            case "activate":
                record = self._candidates.again(release, view, job)
                self._activate(
                    command, record, view, job, self._candidates.evaluate(release, view, command.force, job)
                )
            case "rollback":
                self._activate(command, self._candidates.again(release, view, job), view, job, "went back")
            case "retire":
                self._retire(command, release, view, job)
            case "shadow" | "canary":
                self._try(command, command.action, release, view, job)
            case "end":
                self._end(command, release, view, job)

    def _index(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> None:
        # 1. A predecessor may have come as far as `ready` with this very command.
        if transitions.is_built_for(command, view.releases.get(release)):
            try:
                record = self._candidates.again(release, view, job)
            except RefusedCommandError as error:
                log.warning("building %s again: %s", release, error)
            else:
                summary = self._candidates.evaluate(release, view, command.force, job)
                self._activate(command, record, view, job, f"built and checked before a restart; {summary}")
                return
        # 2. Build and check.
        built = self._candidates.build(
            command, release, view, job, lambda: self._candidates.evaluate(release, view, command.force, job)
        )
        # 3. `active`, last.
        self._activate(command, built.record, built.view, job, built.summary)

    def _try(
        self,
        command: ReleaseCommand,
        kind: Literal["shadow", "canary"],
        release: str,
        view: ReleasesView,
        job: Job,
    ) -> None:
        """Put a release on trial beside the active one; it is built and checked first where it has no collection."""
        if command.share is None:
            raise RefusedCommandError(f"a {kind} needs a share")
        if view.active is None:
            raise RefusedCommandError(f"no release is active for a {kind} to stand beside")
        if view.active.release == release:
            raise RefusedCommandError(f"release {release} is active: only another one can be tried beside it")

        def evaluate() -> str:
            if kind == "shadow":
                return "no evaluation is asked for where answers reach nobody"
            return self._candidates.evaluate(release, view, command.force, job)

        try:
            ready = Candidate(self._candidates.again(release, view, job), view, evaluate())
        except RefusedCommandError as error:
            log.info("building %s for its %s: %s", release, kind, error)
            ready = self._candidates.build(command, release, view, job, evaluate)
        records = transitions.tried(command, kind, command.share, ready.record, ready.view, ready.summary)
        job.publish(records, done=True)
        log.info("release %s is on trial: %s, share %g", release, kind, command.share)

    def _end(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> None:
        """End the trial; the candidate stays ready."""
        if view.trial is None:
            raise RefusedCommandError("no release is on trial")
        if view.trial.release != release:
            raise RefusedCommandError(f"release {release} is not on trial, {view.trial.release} is")
        record = transitions.with_outcome(
            view.releases[release], command, "done", f"its {view.trial.kind} has ended"
        )
        job.publish({release_key(release): record, TRIAL_KEY: None}, done=True)
        log.info("the %s of release %s has ended", view.trial.kind, release)

    def _activate(
        self, command: ReleaseCommand, record: ReleaseRecord, view: ReleasesView, job: Job, summary: str
    ) -> None:
        """Publish that the release serves, then point the alias for people."""
        collection = record.collection
        assert collection is not None
        if view.active and view.active.collection == collection:
            self._change_nothing(command, record.release, view, job, "ignored", "it is active already")
            return
        view = job.publish(transitions.activated(command, record, view, summary), done=True)
        log.info("release %s is active, epoch %d: %s", record.release, view.epoch, summary)
        try:
            self._milvus.point_alias(self._names.active_alias, collection)
        except MilvusError as error:
            log.warning("the alias for people stays behind: %s", error)

    def _retire(self, command: ReleaseCommand, release: str, view: ReleasesView, job: Job) -> None:
        """Give the collection up; the sweep that follows drops it when no live worker serves from it."""
        record = view.releases.get(release)
        if record is None:
            raise RefusedCommandError(f"release {release} was never indexed")
        if view.active and view.active.release == release:
            raise RefusedCommandError(f"release {release} is active; activate another one first")
        if view.trial and view.trial.release == release:
            raise RefusedCommandError(f"release {release} is on trial; end that first")
        gone = transitions.with_outcome(transitions.retired(record), command, "done")
        job.publish({release_key(release): gone}, done=True)
        log.info("release %s is retired", release)

    def _change_nothing(
        self,
        command: ReleaseCommand,
        release: str,
        view: ReleasesView,
        job: Job,
        outcome: Outcome,
        reason: str,
    ) -> None:
        log.warning("%s of release %s is %s: %s", command.action, release, outcome, reason)
        record = transitions.unchanged(command, release, view.releases.get(release), outcome, reason)
        job.publish({release_key(release): record}, done=True)

"""The effect of each release command, with a builder that only notes the releases."""

from typing import Any, cast

import pytest

from schemas.names import Names
from schemas.release import (
    ActiveRecord,
    CommandOutcome,
    ReleaseCommand,
    ReleaseRecord,
    ReleaseState,
    release_key,
)
from schemas.releases import ReleasesView
from tests.memory_index import MemoryStore
from tests.unit.jobs import DirectJob
from worker.errors import AbandonedError
from worker.indexer.build import Ready, RefusedCommandError, ReleaseBuilder
from worker.indexer.checks import CheckError
from worker.indexer.commands import Commands, subject
from worker.indexer.job import Job

A, B, C = "20261121T101500-aaaaaa", "20261122T101500-bbbbbb", "20261123T101500-cccccc"


class NotingBuilder:
    def __init__(self, failure: Exception | None = None) -> None:
        self.built: list[str] = []
        self._failure = failure

    def build(self, _command: ReleaseCommand, release: str, job: Job) -> Ready:
        self.built.append(release)
        if self._failure:
            raise self._failure
        record = ready(release)
        job.publish({release_key(release): record})
        return Ready(record, "built")

    def recheck(self, release: str, job: Job) -> ReleaseRecord:
        record = job.view.releases.get(release)
        if record is None or record.collection is None:
            raise RefusedCommandError(f"release {release} has no collection")
        return record

    def compare(self, *_: object) -> str:
        return "no worse"


def ready(release: str, state: ReleaseState = ReleaseState.READY) -> ReleaseRecord:
    return ReleaseRecord(release=release, state=state, collection=f"{release}_1", attempt=1)


def serving(active: str, *others: str, previous: str | None = None) -> ReleasesView:
    """A view in which one release is active, epoch 1, and others are ready."""
    records = {release: ready(release) for release in others} | {active: ready(active, ReleaseState.ACTIVE)}
    record = ActiveRecord(release=active, collection=f"{active}_1", epoch=1, previous=previous)
    return ReleasesView(releases=records, active=record)


def carry_out(
    view: ReleasesView,
    action: str,
    release: str | None = None,
    *,
    builder: NotingBuilder | None = None,
    **fields: Any,
) -> DirectJob:
    job = DirectJob(view)
    command = ReleaseCommand.model_validate({"action": action, "release": release} | fields)
    Commands(Names("marquee."), MemoryStore(), cast(ReleaseBuilder, builder or NotingBuilder())).carry_out(
        command, job
    )
    return job


def status_of(job: DirectJob, release: str) -> CommandOutcome:
    """The status of the last command; it was committed with the offset after the command."""
    assert job.published[-1][1]
    return job.view.releases[release].commands[-1]


def active_of(job: DirectJob) -> tuple[str, int]:
    assert job.view.active is not None
    return job.view.active.release, job.view.epoch


def test_index_builds_and_activates() -> None:
    builder = NotingBuilder()
    job = carry_out(serving(A), "index", B, builder=builder)
    assert (builder.built, active_of(job)) == ([B], (B, 2))
    assert status_of(job, B).outcome == "done"


def test_activate_and_rollback_build_nothing() -> None:
    builder = NotingBuilder()
    job = carry_out(serving(A, B), "activate", B, builder=builder)
    assert active_of(job) == (B, 2)
    job = carry_out(job.view, "rollback", builder=builder)
    assert (active_of(job), builder.built) == ((A, 3), [])


def test_a_trial_builds_only_a_missing_candidate() -> None:
    builder = NotingBuilder()
    job = carry_out(serving(A, B), "shadow", B, builder=builder, share=0.5)
    job = carry_out(job.view, "canary", C, builder=builder, share=0.1)
    assert builder.built == [C]
    assert job.view.trial is not None
    assert (job.view.trial.release, job.view.trial.kind, active_of(job)) == (C, "canary", (A, 1))
    job = carry_out(job.view, "end")
    assert job.view.trial is None
    assert "its canary has ended" in (status_of(job, C).reason or "")


def test_a_retired_release_gives_its_collection_up() -> None:
    job = carry_out(serving(A, B), "retire", B)
    assert (job.view.releases[B].state, job.view.releases[B].collection) == (ReleaseState.RETIRED, None)


@pytest.mark.parametrize(
    ("action", "release", "fields", "reason"),
    [
        ("activate", C, {}, "has no collection"),
        ("retire", A, {}, "is active; activate another one first"),
        ("retire", C, {}, "was never indexed"),
        ("shadow", B, {}, "needs a share"),
        ("canary", A, {"share": 0.5}, "only another one can be tried"),
        ("end", B, {}, "no release is on trial"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_refused_with_its_reason(
    action: str, release: str, fields: dict[str, Any], reason: str
) -> None:
    job = carry_out(serving(A, B), action, release, **fields)
    status = status_of(job, release)
    assert (status.outcome, active_of(job)) == ("refused", (A, 1))
    assert reason in (status.reason or "")


def test_a_candidate_on_trial_is_neither_retired_nor_ended_by_another_name() -> None:
    view = carry_out(serving(A, B, C), "shadow", B, share=0.5).view
    assert "is on trial; end that first" in (status_of(carry_out(view, "retire", B), B).reason or "")
    assert f"is not on trial, {B} is" in (status_of(carry_out(view, "end", C), C).reason or "")


@pytest.mark.parametrize(
    ("action", "release", "fields", "reason"),
    [
        ("index", B, {"expected_epoch": 0}, "epoch 1 is active"),
        ("rollback", None, {}, "no release was active before"),
        ("activate", A, {}, "it is active already"),
    ],
)
def test_a_command_that_comes_too_late_is_ignored(
    action: str, release: str | None, fields: dict[str, Any], reason: str
) -> None:
    job = carry_out(serving(A, B), action, release, **fields)
    status = status_of(job, release or A)
    assert (status.outcome, active_of(job)) == ("ignored", (A, 1))
    assert reason in (status.reason or "")


def test_a_command_that_comes_twice_is_carried_out_once() -> None:
    builder = NotingBuilder()
    job = carry_out(serving(A), "index", B, builder=builder, command_id="the-same")
    job = carry_out(job.view, "index", B, builder=builder, command_id="the-same")
    assert (builder.built, active_of(job)) == ([B], (B, 2))
    assert status_of(job, B).outcome == "ignored"
    assert "seen before, and done" in (status_of(job, B).reason or "")


@pytest.mark.parametrize("failure", [CheckError("worse"), OSError("worse"), ZeroDivisionError("worse")])
def test_a_build_that_fails_is_refused_and_rejected(failure: Exception) -> None:
    job = carry_out(serving(A), "index", B, builder=NotingBuilder(failure))
    assert (status_of(job, B).outcome, active_of(job)) == ("refused", (A, 1))
    assert (job.view.releases[B].state, "worse" in (job.view.releases[B].reason or "")) == ("rejected", True)


def test_a_cancelled_command_has_no_status() -> None:
    job = DirectJob(serving(A))
    with pytest.raises(AbandonedError):
        Commands(
            Names("marquee."),
            MemoryStore(),
            cast(ReleaseBuilder, NotingBuilder(AbandonedError())),
        ).carry_out(ReleaseCommand(action="index", release=B), job)
    assert job.published == []


def test_a_record_of_a_newer_format_refuses_every_command() -> None:
    view = serving(A, B)
    view.newer["trial"] = 9
    job = carry_out(view, "activate", B)
    assert "upgrade this indexer" in (status_of(job, B).reason or "")
    # And the newer record itself is not overwritten
    view.newer["release:" + B] = 9
    assert carry_out(view, "activate", B).published[-1] == ({}, True)


def test_a_command_without_a_release_means_the_active_the_previous_or_the_one_on_trial() -> None:
    view = carry_out(serving(A, B, previous=C), "shadow", B, share=0.5).view
    found = {
        action: subject(ReleaseCommand.model_validate({"action": action}), view)
        for action in ("index", "rollback", "end")
    }
    assert found == {"index": A, "rollback": C, "end": B}
    assert subject(ReleaseCommand(action="index"), ReleasesView()) is None

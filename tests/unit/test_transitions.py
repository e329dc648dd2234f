"""The life of a release as records."""

from typing import Any

from schemas.release import (
    ACTIVE_KEY,
    TRIAL_KEY,
    ActiveRecord,
    ReleaseCommand,
    ReleaseRecord,
    ReleaseState,
    TrialRecord,
    now,
)
from schemas.releases import ReleasesView
from worker.indexer import transitions


def command(**fields: Any) -> ReleaseCommand:
    return ReleaseCommand(**({"action": "index", "release": "b"} | fields))


def ready(release: str, **fields: Any) -> ReleaseRecord:
    collection = {"collection": f"{release}_1"}
    return ReleaseRecord(**({"release": release, "state": ReleaseState.READY} | collection | fields))


def serving(release: str, epoch: int, previous: str | None = None) -> ReleasesView:
    record = ready(release, state=ReleaseState.ACTIVE)
    active = ActiveRecord(release=release, collection=f"{release}_1", epoch=epoch, previous=previous)
    return ReleasesView(releases={release: record}, active=active)


def test_the_first_release_begins_the_epochs() -> None:
    records = transitions.activated(command(), ready("b"), ReleasesView(), "fine")
    active = records[ACTIVE_KEY]
    assert isinstance(active, ActiveRecord)
    assert (active.release, active.epoch, active.previous) == ("b", 1, None)


def test_taking_over_retires_the_other_keeps_its_collection_and_comes_last() -> None:
    records = transitions.activated(command(), ready("b"), serving("a", 7), "fine")
    assert list(records) == ["release:b", "release:a", ACTIVE_KEY]
    replaced, active = records["release:a"], records[ACTIVE_KEY]
    assert isinstance(replaced, ReleaseRecord)
    assert (replaced.state, replaced.collection) == (ReleaseState.RETIRED, "a_1")
    assert isinstance(active, ActiveRecord)
    assert (active.epoch, active.previous) == (8, "a")


def test_a_new_build_of_the_active_release_keeps_the_rollback_target() -> None:
    records = transitions.activated(
        command(), ready("b", collection="b_2"), serving("b", 3, previous="a"), "fine"
    )
    active = records[ACTIVE_KEY]
    assert isinstance(active, ActiveRecord)
    assert (active.collection, active.epoch, active.previous) == ("b_2", 4, "a")


def test_indexers_that_begin_for_a_command_are_counted() -> None:
    first = transitions.started(command(command_id="1"), "b", None)
    assert (first.state, first.tries) == (ReleaseState.INDEXING, 1)
    assert transitions.started(command(command_id="1"), "b", first).tries == 2
    assert transitions.started(command(command_id="2"), "b", first).tries == 1
    kept = transitions.started(command(command_id="3"), "b", ready("b"))
    assert (kept.state, kept.collection) == (ReleaseState.READY, "b_1")


def test_only_a_build_for_the_same_command_is_reused() -> None:
    earlier = ready("b", command_id="1", indexing_at=now(), ready_at=now())
    assert transitions.is_built_for(command(command_id="1"), earlier)
    assert not transitions.is_built_for(command(command_id="2"), earlier)
    begun = transitions.attempted(command(command_id="2"), "b", earlier)
    assert (begun.state, begun.collection) == (ReleaseState.READY, "b_1")
    assert not transitions.is_built_for(command(command_id="2"), begun)
    assert not transitions.is_built_for(command(command_id="2"), None)


def test_a_new_attempt_has_a_new_number() -> None:
    first = transitions.attempted(command(), "b", None)
    second = transitions.attempted(command(), "b", first)
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.state == ReleaseState.INDEXING


def test_a_release_keeps_serving_while_it_is_built_again() -> None:
    record = transitions.attempted(command(), "b", ready("b", state=ReleaseState.ACTIVE))
    assert (record.state, record.collection) == (ReleaseState.ACTIVE, "b_1")


def test_a_refused_first_indexing_is_rejected_with_its_reason() -> None:
    begun = transitions.attempted(command(), "b", None)
    record = transitions.unchanged(command(command_id="1"), "b", begun, "refused", "corrupt")
    assert (record.state, record.reason) == (ReleaseState.REJECTED, "corrupt")
    assert [(each.command_id, each.outcome) for each in record.commands] == [("1", "refused")]


def test_a_refused_indexing_of_a_release_with_a_collection_leaves_its_state() -> None:
    record = transitions.unchanged(command(), "b", ready("b"), "refused", "corrupt")
    assert (record.state, record.collection) == (ReleaseState.READY, "b_1")


def test_an_ignored_command_leaves_the_state() -> None:
    begun = transitions.attempted(command(), "b", None)
    record = transitions.unchanged(command(), "b", begun, "ignored", "seen")
    assert record.state == ReleaseState.INDEXING


def test_force_is_recorded() -> None:
    record = transitions.with_status(ready("b"), command(force=True), "done")
    assert record.commands[-1].forced


def test_the_newest_fifty_statuses_are_kept() -> None:
    record = ready("b")
    for number in range(60):
        record = transitions.with_status(record, command(command_id=str(number)), "done")
    assert [outcome.command_id for outcome in record.commands] == [str(n) for n in range(10, 60)]


def test_an_activation_ends_the_trial() -> None:
    view = serving("a", 7)
    retired = ready("b", state=ReleaseState.RETIRED)
    records = transitions.tried(command(action="canary"), "canary", 0.1, retired, view, "fine")
    trial, candidate = records[TRIAL_KEY], records["release:b"]
    assert isinstance(candidate, ReleaseRecord)
    assert candidate.state == ReleaseState.READY
    assert isinstance(trial, TrialRecord)
    assert (trial.kind, trial.release, trial.collection, trial.share, trial.epoch) == (
        "canary",
        "b",
        "b_1",
        0.1,
        7,
    )
    view.trial = trial
    assert transitions.activated(command(), ready("b"), view, "fine")[TRIAL_KEY] is None


def test_a_release_that_could_not_be_built_for_a_trial_is_rejected() -> None:
    refused = transitions.unchanged(command(action="shadow"), "b", None, "refused", "corrupt")
    assert (refused.state, refused.reason) == (ReleaseState.REJECTED, "corrupt")

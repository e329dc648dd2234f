"""The compacted topic as a view: what is read, what is ignored, and what is kept."""

from datetime import timedelta

from schemas.release import (
    ActiveRecord,
    CommandOutcome,
    Record,
    ReleaseRecord,
    ReleaseState,
    WorkerRecord,
    now,
    release_key,
    worker_key,
)
from schemas.releases import ReleasesView


def feed(view: ReleasesView, key: str, record: Record | None) -> bool:
    value = record.model_dump_json().encode() if record else None
    return view.apply(key.encode(), value) is not None


def active(epoch: int) -> ActiveRecord:
    return ActiveRecord(release=f"r{epoch}", collection=f"c{epoch}", epoch=epoch)


def test_the_newest_record_of_a_key_counts() -> None:
    view = ReleasesView()
    feed(view, release_key("a"), ReleaseRecord(release="a", state=ReleaseState.INDEXING))
    feed(view, release_key("a"), ReleaseRecord(release="a", state=ReleaseState.READY))
    assert view.releases["a"].state == ReleaseState.READY


def test_a_tombstone_removes() -> None:
    view = ReleasesView()
    feed(view, worker_key("w"), WorkerRecord(worker="w", version="1", started_at=now()))
    assert feed(view, worker_key("w"), None)
    assert not view.workers


def test_a_passed_epoch_changes_nothing() -> None:
    view = ReleasesView()
    feed(view, "active", active(5))
    assert not feed(view, "active", active(4))
    assert view.epoch == 5


def test_a_newer_format_keeps_what_was_there_and_is_reported_until_a_readable_one_comes() -> None:
    view = ReleasesView()
    feed(view, "active", active(1))
    assert not feed(view, "active", active(2).model_copy(update={"format": 2}))
    assert view.epoch == 1
    assert view.newer == {"active": 2}
    feed(view, "active", active(3))
    assert view.epoch == 3
    assert not view.newer


def test_what_cannot_be_read_changes_nothing() -> None:
    view = ReleasesView()
    feed(view, "active", active(1))
    assert view.apply(b"active", b"{") is None
    assert view.apply(b"active", b'{"format": "x"}') is None
    assert view.apply(b"something", b"{}") is None
    assert view.apply(None, b"{}") is None
    assert view.apply(b"release:\xff", b"[]") is None
    assert view == ReleasesView(active=view.active)


def test_unknown_fields_are_ignored() -> None:
    view = ReleasesView()
    assert view.apply(b"active", b'{"release": "a", "collection": "c", "epoch": 1, "colour": "red"}')
    assert view.epoch == 1


def test_an_outcome_is_found_by_its_command_and_the_first_one_counts() -> None:
    view = ReleasesView()
    done = CommandOutcome(command_id="1", action="index", outcome="done")
    again = CommandOutcome(command_id="1", action="index", outcome="ignored")
    feed(
        view,
        release_key("a"),
        ReleaseRecord(release="a", state=ReleaseState.ACTIVE, commands=[done, again]),
    )
    found = view.outcome("1")
    assert found is not None
    assert found[1].outcome == "done"
    assert view.outcome("2") is None


def test_a_worker_is_live_for_a_minute_after_its_heartbeat() -> None:
    view = ReleasesView()
    at = now()
    for name, age in (("young", 59), ("old", 61)):
        record = WorkerRecord(
            worker=name, version="1", started_at=at, heartbeat_at=at - timedelta(seconds=age)
        )
        feed(view, worker_key(name), record)
    assert [worker.worker for worker in view.live_workers(at)] == ["young"]


def test_a_snapshot_does_not_follow() -> None:
    view = ReleasesView()
    taken = view.snapshot()
    feed(view, release_key("a"), ReleaseRecord(release="a", state=ReleaseState.READY))
    assert not taken.releases

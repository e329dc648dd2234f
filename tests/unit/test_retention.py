"""Retention: collections and records that are kept, and those that may go."""

from datetime import timedelta

from schemas.names import Names
from schemas.release import ActiveRecord, ReleaseRecord, ReleaseState, WorkerRecord, now
from schemas.releases import ReleasesView
from worker.indexer.retention import forgotten_workers, has_our_name, releases_to_retire, unneeded_collections

NAMES = Names("marquee.")
A, B, C, D = (f"20261121T10150{digit}-3f9c2a" for digit in range(4))


def view_of(*releases: str, active: str, epoch: int = 9) -> ReleasesView:
    """Releases activated in that order, each from its first attempt."""
    began = now() - timedelta(hours=1)
    records = {
        release: ReleaseRecord(
            release=release,
            state=ReleaseState.ACTIVE if release == active else ReleaseState.RETIRED,
            collection=NAMES.collection(release, 1),
            active_at=began + timedelta(minutes=place),
        )
        for place, release in enumerate(releases)
    }
    serving = ActiveRecord(release=active, collection=NAMES.collection(active, 1), epoch=epoch)
    return ReleasesView(releases=records, active=serving)


def worker(release: str | None, epoch: int, age_s: float = 0.0) -> WorkerRecord:
    at = now()
    return WorkerRecord(
        worker="w",
        version="1",
        release=release,
        epoch=epoch,
        started_at=at,
        heartbeat_at=at - timedelta(seconds=age_s),
    )


def test_the_newest_releases_are_kept() -> None:
    assert list(releases_to_retire(view_of(A, B, C, D, active=D), NAMES, 2)) == [
        f"release:{B}",
        f"release:{A}",
    ]


def test_the_active_release_stays_however_old_it_is() -> None:
    retired = releases_to_retire(view_of(A, B, C, active=A), NAMES, 2)
    assert list(retired) == [f"release:{B}"]


def test_a_release_that_a_live_worker_serves_stays() -> None:
    view = view_of(A, B, C, active=C)
    view.workers["w"] = worker(A, epoch=3)
    assert not releases_to_retire(view, NAMES, 2)
    view.workers["w"] = worker(A, epoch=3, age_s=61)
    assert list(releases_to_retire(view, NAMES, 2)) == [f"release:{A}"]


def test_half_built_collections_go_and_named_ones_stay() -> None:
    view = view_of(A, active=A)
    there = [NAMES.collection(A, 1), NAMES.collection(A, 2), NAMES.collection(B, 1)]
    assert unneeded_collections(view, NAMES, there) == there[1:]


def test_the_collection_of_an_older_attempt_stays_while_a_worker_may_search_it() -> None:
    view = view_of(A, active=A, epoch=9)
    replaced = NAMES.collection(A, 2)
    view.workers["w"] = worker(A, epoch=8)
    assert not unneeded_collections(view, NAMES, [replaced])
    view.workers["w"] = worker(A, epoch=9)
    assert unneeded_collections(view, NAMES, [replaced]) == [replaced]


def test_another_deployments_collections_do_not_have_our_name() -> None:
    other = Names("marquee.test.").collection(A, 1)
    assert has_our_name(NAMES, NAMES.collection(A, 12))
    assert not has_our_name(NAMES, other)
    assert not has_our_name(NAMES, NAMES.active_alias)
    assert not has_our_name(NAMES, "marquee_mine")
    assert not unneeded_collections(view_of(B, active=B), NAMES, [other, "marquee_mine"])


def test_workers_are_forgotten_long_after_they_died() -> None:
    view = ReleasesView(workers={"w": worker(A, 1, age_s=120)})
    assert not forgotten_workers(view)
    view.workers["w"] = worker(A, 1, age_s=601)
    assert forgotten_workers(view) == ["worker:w"]


def test_a_collection_that_a_batch_under_way_searches_stays() -> None:
    """A worker that swapped may still search the previous collection for its batch under way."""
    view = view_of(A, B, C, active=C)
    busy = worker(C, epoch=9)
    view.workers["w"] = busy.model_copy(update={"collections": [NAMES.collection(A, 1)]})
    assert not releases_to_retire(view, NAMES, 2)
    view.workers["w"] = busy.model_copy(update={"collections": [NAMES.collection(C, 1)]})
    assert list(releases_to_retire(view, NAMES, 2)) == [f"release:{A}"]

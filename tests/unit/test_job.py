"""A job and the main thread: commits, cancellation, and retries while Milvus or the store is away."""

import time
from collections.abc import Callable

import pytest

from schemas.releases import ReleasesView
from worker.errors import AbandonedError, MilvusError, ReleaseError, StoreAwayError
from worker.indexer.job import Job
from worker.monitoring.http import Health

SECONDS = 20.0


def started(work: Callable[[Job], None], health: Health | None = None) -> Job:
    job = Job("test", work, ReleasesView(), health or Health())
    job.start()
    return job


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def failing(*errors: Exception) -> Callable[[], str]:
    """A call that raises each error once, and then returns."""
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def test_a_commit_gives_the_job_the_view_after_it() -> None:
    views: list[ReleasesView] = []

    def work(job: Job) -> None:
        job.publish({}, done=True)
        views.append(job.view)

    job, after = started(work), ReleasesView()
    until(lambda: not job.requests.empty())
    assert not job.ended
    request = job.requests.get()
    assert request.done
    request.view.set_result(after)
    until(lambda: job.ended)
    assert views[0] is after


def test_a_cancelled_job_ends_while_it_waits_for_a_commit_or_for_milvus() -> None:
    def wait_for_milvus(job: Job) -> None:
        job.ask_milvus(failing(*[MilvusError("away")] * 1_000))

    for work in (lambda job: job.publish({}), wait_for_milvus):
        job = started(work)
        job.cancel(SECONDS)
        while not job.requests.empty():
            job.requests.get()
        assert job.ended
        assert job.failure is None


def test_an_error_of_the_work_is_kept_for_the_main_thread() -> None:
    def work(_: Job) -> None:
        raise ZeroDivisionError

    job = started(work)
    until(lambda: job.ended)
    assert isinstance(job.failure, ZeroDivisionError)


def test_milvus_that_is_away_is_asked_again_and_named_meanwhile() -> None:
    health, seen = Health(), list[str | None]()
    errors = failing(MilvusError("away"))

    def call() -> str:
        seen.append(health.problems.get("milvus"))
        return errors()

    assert Job("test", lambda _: None, ReleasesView(), health).ask_milvus(call) == "done"
    assert seen == [None, "away"]
    assert "milvus" not in health.problems


def test_only_a_store_that_is_away_is_asked_again() -> None:
    job = Job("test", lambda _: None, ReleasesView(), Health())
    assert job.ask_store(failing(StoreAwayError("no route"))) == "done"
    with pytest.raises(ReleaseError, match="corrupt"):
        job.ask_store(failing(ReleaseError("corrupt")))


def test_a_cancelled_job_publishes_nothing() -> None:
    job = Job("test", lambda _: None, ReleasesView(), Health())
    job.cancel(0)
    with pytest.raises(AbandonedError):
        job.publish({})
    assert job.requests.empty()

"""What a worker tells of the collections that it searches: who cleans up must leave these alone."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from schemas.release import ActiveRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import ReleaseError
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.serving.active import Serving
from worker.serving.served import ServedRelease

ACTIVE = ActiveRecord(release="r", collection="marquee_r_1", epoch=1)


class Told:
    """A heartbeat that keeps what it was told last."""

    collections: list[str] | None = None
    problem: str | None = None

    def say(self, _part: str, problem: str | None) -> None:
        self.problem = problem or self.problem

    def beat(self, collections: list[str]) -> None:
        self.collections = collections


def wait_until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_being_loaded_must_not_be_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SimpleNamespace(
        view=ReleasesView(active=ACTIVE),
        read_to_end=lambda _: None,
        undecodable=None,
        poll=lambda _: time.sleep(0.01),
        close=lambda: None,
    )
    loading: Future[ServedRelease] = Future()
    monkeypatch.setattr("worker.serving.active.ReleasesReader", lambda _: reader)
    monkeypatch.setattr(
        "worker.serving.active.ReleaseLoader", lambda *_: SimpleNamespace(begin=lambda *_: loading)
    )
    told, milvus = Told(), cast(Any, None)
    with Serving(Settings(), milvus, cast(Any, told), Health(), Metrics(CollectorRegistry())):
        wait_until(lambda: told.collections == [ACTIVE.collection])

        loading.set_exception(ReleaseError("it is not in the store"))

        wait_until(lambda: told.collections == [])
        assert "it is not in the store" in (told.problem or "")

"""A worker's heartbeat names the collections that it searches, so that they are not dropped."""

import threading
import time
from collections.abc import Callable
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
from worker.serving import ReleaseFollower

ACTIVE = ActiveRecord(release="r", collection="marquee_r_1", epoch=1)


class Reported:
    """A heartbeat that keeps its last report."""

    collections: list[str] | None = None
    problem: str | None = None

    def report(self, _part: str, problem: str | None) -> None:
        self.problem = problem or self.problem

    def beat(self, collections: list[str]) -> None:
        self.collections = collections


def wait_until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_heartbeat_names_the_collection_of_a_release_that_is_being_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = SimpleNamespace(
        view=ReleasesView(active=ACTIVE),
        read_to_end=lambda _: None,
        undecodable=None,
        poll=lambda _: time.sleep(0.01),
        close=lambda: None,
    )
    given_up = threading.Event()

    def load(*_: object) -> None:
        given_up.wait()
        raise ReleaseError("it is not in the store")

    monkeypatch.setattr("worker.serving.active.ReleasesReader", lambda _: reader)
    monkeypatch.setattr("worker.serving.active.ReleaseLoader", lambda _: SimpleNamespace(load=load))
    heartbeat, milvus = Reported(), cast(Any, None)
    with ReleaseFollower(Settings(), milvus, cast(Any, heartbeat), Health(), Metrics(CollectorRegistry())):
        wait_until(lambda: heartbeat.collections == [ACTIVE.collection])

        given_up.set()

        wait_until(lambda: heartbeat.collections == [])
        assert "it is not in the store" in (heartbeat.problem or "")

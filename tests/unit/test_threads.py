"""Threads: the error of a vital one is handed on, a side one is restarted and counted; tokens cancel work."""

import re
import threading
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from schemas.settings import HttpSettings
from worker.errors import AbandonedError, SupersededError
from worker.monitoring import threads
from worker.monitoring.http import Health, serve
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation, Failure, guarded, start_side, start_vital

WORKER = Path(threads.__file__).parents[1]


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A thread's name that no other test has; a restart is immediate."""
    monkeypatch.setattr(threads, "_FIRST_BACKOFF_SECONDS", 0.0)
    return f"thread-{uuid4().hex[:8]}"


def test_every_thread_of_the_worker_is_started_in_one_module() -> None:
    made = re.compile(r"\bThread\(|\bTimer\(|_thread\.start_new")
    places = {path.name for path in WORKER.rglob("*.py") if made.search(path.read_text())}
    assert places == {"threads.py"}


@pytest.mark.parametrize("error", [ValueError("told"), SystemExit(2)])
def test_the_error_of_a_vital_thread_is_raised_in_the_main_loop(error: BaseException) -> None:
    failure = Failure()
    failure.raise_noted()

    def fail() -> None:
        raise error

    start_vital("vital", fail, failure.note).join()
    with pytest.raises(type(error)) as raised:
        failure.raise_noted()
    assert raised.value is error


def test_a_side_thread_is_restarted_until_it_returns(name: str) -> None:
    registry, errors = CollectorRegistry(), [ValueError("the event of user 42"), KeyError()]
    Metrics(registry)

    def run() -> None:
        if errors:
            raise errors.pop(0)

    start_side(name, run, threading.Event()).join()

    assert threads.restarts()[name] == "restarted 2 times, the last time after KeyError"
    lines = generate_latest(registry).decode().splitlines()
    assert f'marquee_thread_restarts_total{{thread="{name}"}} 2.0' in lines
    assert 'marquee_thread_restarts_total{thread="http"} 0.0' in lines


def test_a_stopped_side_thread_is_not_restarted(name: str) -> None:
    stopping = threading.Event()

    def run() -> None:
        stopping.set()
        raise ValueError

    start_side(name, run, stopping).join()
    assert threads.restarts()[name].startswith("restarted 1 times")


def test_a_callback_that_raises_ends_nothing(name: str) -> None:
    def fail(statistics: str) -> None:
        raise KeyError(statistics)

    guarded(name, fail)("{}")
    assert "KeyError" in threads.restarts()[name]


def test_readiness_names_the_threads_that_were_restarted(name: str) -> None:
    threads.note_restart(name, ValueError())
    health = Health()
    health.begun()
    with (
        serve(HttpSettings(port=0), health, CollectorRegistry()) as server,
        urlopen(f"http://{server.address}/health/ready") as response,
    ):
        body = orjson.loads(response.read())
    assert body["ok"] is True
    assert body["threads"][name] == "restarted 1 times, the last time after ValueError"


def test_the_port_is_served_again_after_its_thread_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_FIRST_BACKOFF_SECONDS", 0.0)
    failing = threading.Event()
    from http.server import ThreadingHTTPServer

    original = ThreadingHTTPServer.service_actions

    def actions(server: ThreadingHTTPServer) -> None:
        if failing.is_set():
            failing.clear()
            raise RuntimeError
        original(server)

    monkeypatch.setattr(ThreadingHTTPServer, "service_actions", actions)
    with serve(HttpSettings(port=0), Health(), CollectorRegistry()) as server:
        failing.set()
        while failing.is_set():
            server._stopping.wait(0.01)
        with urlopen(f"http://{server.address}/health/live", timeout=30) as response:
            assert response.status == 200
    assert "RuntimeError" in threads.restarts()["http"]


def test_a_token_raises_the_error_that_it_or_a_linked_one_was_cancelled_with() -> None:
    batch, lineup = Cancellation(), Cancellation()
    both = Cancellation(lineup, batch)
    both.check()

    lineup.cancel(SupersededError)
    lineup.cancel()

    batch.check()
    with pytest.raises(SupersededError):
        both.check()


def test_a_token_counts_as_cancelled_after_its_time() -> None:
    Cancellation(seconds=60).check()
    with pytest.raises(AbandonedError):
        Cancellation(seconds=0).check()

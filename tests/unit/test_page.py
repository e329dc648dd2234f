"""The worker's page: its content, and access to it."""

import base64
import gc
import hashlib
import json
import re
import time
import weakref
from collections.abc import Iterator, Sequence
from email.message import Message
from http.client import HTTPConnection
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from schemas.dead_letter import Reason
from schemas.errors import SettingsError
from schemas.settings import HttpSettings, load_settings
from tests.unit.events import PolledEvent
from worker.events import Answer, Record, Rejection, decode, encode_dead_letter
from worker.monitoring.http import Health, HttpServer, serve
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import KEPT, Access, Latest, Page, content_security_policy, is_loopback
from worker.monitoring.trend import Trend, quantile

TOKEN = "0123456789abcdef"


def recommended(user: int) -> Answer:
    value = json.dumps({"event_id": "e", "user_id": user, "movies": [{"title": "Yojimbo (1961)"}]}).encode()
    return Answer(PolledEvent(), Record("recommendations", 3, None, value, []))


def rejected(value: bytes) -> Answer:
    event, rejection = PolledEvent(body=value), decode(value)
    assert isinstance(rejection, Rejection)
    return Answer(event, encode_dead_letter("dead-letters", event, rejection, "r"), rejection.reason)


def page(settings: HttpSettings, registry: CollectorRegistry, answers: Sequence[Answer] = ()) -> HttpServer:
    """A port with a worker's page, which has seen these answers."""
    latest = Latest()
    latest.committed(answers)
    return serve(settings, Health(), registry, Page("host-1", Access(settings), Trend(registry), latest))


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with page(HttpSettings(port=0), CollectorRegistry(), [recommended(42)]) as running:
        yield running


def get(server: HttpServer, path: str, **headers: str) -> tuple[int, Any, Message]:
    connection = HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    is_json = answer.getheader("Content-Type") == "application/json"
    return answer.status, json.loads(body) if is_json else body.decode(), answer.headers


def test_the_page_runs_its_own_script_and_nothing_else(server: HttpServer) -> None:
    status, html, headers = get(server, "/")

    assert status == 200
    policy = headers["Content-Security-Policy"]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Server"].strip() == "marquee"


def test_the_page_loads_nothing_from_elsewhere_and_escapes_its_content(server: HttpServer) -> None:
    html = get(server, "/")[1]

    assert re.findall(r"https?://[^\"' ]+", html) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(| style=| on\w+=\"", html
    )


def test_another_script_has_another_hash() -> None:
    one, other = (f"<style></style><script>{text}</script>" for text in ("a()", "b()"))
    assert content_security_policy(one) != content_security_policy(other)


def test_on_loopback_profiles_are_shown(server: HttpServer) -> None:
    status, content, _ = get(server, "/page/events")

    assert status == 200
    assert [one["user_id"] for one in content["recommendations"]] == [42]


def test_another_website_cannot_make_the_page_its_own(server: HttpServer) -> None:
    # Given a name that its owner lets point at 127.0.0.1
    status, content, _ = get(server, "/page/events", Host="evil.example:9464")

    assert status == 403
    assert "recommendations" not in content


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_only_the_token_gives_access(host: str) -> None:
    settings = HttpSettings(host=host, port=0, token=TOKEN)
    with page(settings, CollectorRegistry(), [recommended(42)]) as server:
        assert get(server, "/page/events")[0] == 401
        assert get(server, "/page/events", Authorization=f"Bearer {TOKEN}x")[0] == 401
        assert get(server, "/page/events", Authorization="Bearer ")[0] == 401
        assert get(server, f"/page/events?token={TOKEN}")[0] == 401
        assert get(server, "/page/trend")[0] == 200
        status, content, _ = get(server, "/page/events", Authorization=f"Bearer {TOKEN}")
        assert (status, len(content["recommendations"])) == (200, 1)


def test_on_all_addresses_without_a_token_no_profile_is_shown() -> None:
    settings = HttpSettings(host="0.0.0.0", port=0)
    assert not Access(settings).possible

    with page(settings, CollectorRegistry(), [recommended(42)]) as server:
        status, content, _ = get(server, "/page/events")

    assert status == 403
    assert "MARQUEE_HTTP__TOKEN" in content["error"]


def test_a_short_token_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="MARQUEE_HTTP__TOKEN") as refusal:
        load_settings(http={"token": "hunter2"})
    assert "hunter2" not in str(refusal.value)


def test_loopback_addresses_are_known() -> None:
    assert [host for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost") if not is_loopback(host)] == []
    assert [
        host for host in ("0.0.0.0", "::", "10.0.0.1", "", "localhost.evil.example") if is_loopback(host)
    ] == []


def test_an_unknown_path_is_none(server: HttpServer) -> None:
    assert get(server, "/page/../etc")[0] == 404


def test_the_last_of_each_kind_are_kept_newest_first() -> None:
    latest = Latest()
    latest.committed([rejected(b"{"), *(recommended(user) for user in range(1, 31)), rejected(b"[]")])
    latest.committed([rejected(b'{"age": 300}')])

    assert [one["user_id"] for one in latest.recommendations()] == list(range(30, 30 - KEPT, -1))
    assert [one["reason"] for one in latest.dead_letters()] == ["invalid", "not_an_object", "not_json"]
    assert latest.dead_letters()[0]["value"] == '{"age": 300}'
    assert latest.dead_letters()[0]["source"] == "marquee.profiles-3-1042"


def test_without_access_no_results_are_kept() -> None:
    latest = Latest(kept=0)
    latest.committed([recommended(1), rejected(b"{")])
    assert (latest.recommendations(), latest.dead_letters()) == ([], [])


def test_a_point_is_the_difference_of_two_samplings() -> None:
    # Given
    registry = CollectorRegistry()
    metrics, trend = Metrics(registry), Trend(registry)
    trend.look(100.0)

    # When
    metrics.serving("r", "c", 7, "cpu")
    for events in (6, 2):
        metrics.batch_events.observe(events)
    metrics.committed([recommended(1), recommended(2), rejected(b"{")], seconds=0.5, commit_seconds=0.2)
    metrics.lag.waiting(3, 40)
    trend.look(102.0)
    trend.look(104.0)

    # Then
    busy, idle = trend.after(0)
    assert (busy["at"], busy["recommendations"], busy["dead_letters"]) == (102.0, 1.0, 0.5)
    assert (busy["batch"], busy["lag"], busy["release"], busy["epoch"]) == (4.0, {"3": 40}, "r", 7)
    assert busy["stages"]["commit"] == 0.2
    assert (idle["recommendations"], idle["batch"], idle["p50"], idle["p99"]) == (0.0, None, None, None)
    assert trend.after(102.0) == [idle]


def test_the_first_events_of_a_worker_are_in_the_trend() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    with Trend(registry) as trend:
        metrics.committed([recommended(1)], seconds=0.5, commit_seconds=0.2)
        trend.look(time.time() + 1)
        assert trend.after(0)[0]["recommendations"] > 0


def test_quantiles_equal_those_of_prometheus() -> None:
    # promtool: histogram_quantile over le 0.1: 0, 0.2: 50, 1: 100, +Inf: 100
    bounds, counts = [0.1, 0.2, 1.0, float("inf")], [0.0, 50.0, 100.0, 100.0]
    assert quantile(0.5, bounds, counts) == pytest.approx(0.2)
    assert quantile(0.75, bounds, counts) == pytest.approx(0.6)
    assert quantile(0.99, bounds, [0.0, 0.0, 0.0, 10.0]) == 1.0  # beyond the last bound, that bound
    assert quantile(0.5, bounds, [0.0] * 4) is None


@pytest.mark.parametrize("reason", [None, Reason.TOO_LARGE])
def test_the_page_does_not_hold_the_events_in_memory(reason: Reason | None) -> None:
    """Eight of each, of a mebibyte and more."""
    latest = Latest()
    event = PolledEvent(b"x" * 1_000_000)
    latest.committed([Answer(event, Record("topic", 0, None, b"{}", []), reason)])
    gone = weakref.ref(event)
    del event
    gc.collect()

    assert gone() is None
    assert len(latest.recommendations() + latest.dead_letters()) == 1

"""The port for Prometheus and supervisors: ready means that the work has begun and nothing is in its way."""

import http.client
import json
import socket
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from schemas.errors import SettingsError
from schemas.settings import HttpSettings
from worker.monitoring.http import Health, serve


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def address(health: Health) -> Iterator[str]:
    with serve(HttpSettings(port=0), health, CollectorRegistry()) as server:
        yield f"http://{server.address}"


def ready(address: str) -> tuple[int, dict[str, str]]:
    try:
        with urlopen(f"{address}/health/ready") as response:
            return response.status, json.load(response)["problems"]
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["problems"]


def test_a_process_is_not_ready_before_its_work_has_begun(health: Health, address: str) -> None:
    assert ready(address)[0] == 503
    health.begun()
    assert ready(address) == (200, {})


def test_a_problem_is_reported_until_it_is_solved(health: Health, address: str) -> None:
    health.begun()
    health.set("kafka", "no broker can be reached")
    assert ready(address) == (503, {"kafka": "no broker can be reached"})
    health.set("kafka", None)
    assert ready(address) == (200, {})


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"):
            serve(HttpSettings(port=port), Health(), CollectorRegistry())


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready", "/nothing"])
def test_head_is_answered_like_get_without_a_body(address: str, path: str) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    answers = []
    for method in ("GET", "HEAD", "GET"):  # one connection: a body would be taken for the next answer
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        answers.append(
            (response.status, response.getheader("Content-Type"), response.getheader("Content-Length"))
        )
        assert len(body) == (0 if method == "HEAD" else int(response.getheader("Content-Length") or 0))
    connection.close()
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("host", "asked"), [("::1", ["[::1]"]), ("::", ["[::1]", "127.0.0.1"]), ("0.0.0.0", ["127.0.0.1"])]
)
def test_it_serves_ipv6_and_ipv4(health: Health, host: str, asked: list[str]) -> None:
    health.begun()
    with serve(HttpSettings(host=host, port=0), health, CollectorRegistry()) as server:
        for each in asked:
            assert ready(f"http://{each}:{server.port}") == (200, {})
        assert ready(f"http://{server.address}") == (200, {})
        # The address in the heartbeat is one that others can ask, and no "all addresses".
        assert ready(f"http://{server.reachable}") == (200, {})
        assert not server.reachable.startswith(("[::]", "0.0.0.0"))


def test_an_ipv6_address_in_use_is_named() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"\[::1\]:{port}"):
            serve(HttpSettings(host="::1", port=port), Health(), CollectorRegistry())

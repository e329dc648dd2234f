"""The port for Prometheus and supervisors: ready means that the work has begun and nothing is in its way."""

import json
import socket
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from schemas.errors import SettingsError
from schemas.settings import HttpSettings
from worker.http import Health, serve


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


def test_what_is_in_the_way_is_said_until_it_is_gone(health: Health, address: str) -> None:
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

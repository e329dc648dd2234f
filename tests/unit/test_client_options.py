"""MARQUEE_KAFKA__CLIENT: what it says comes last everywhere, and what must not be said is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas import kafka
from schemas.client_options import REFUSED
from schemas.errors import SettingsError
from schemas.settings import Settings, load_settings

OWN = {"log_level": 0}
CLIENTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "admin": lambda s: kafka.admin(s.kafka, OWN),
    "producer": lambda s: kafka.producer(s.kafka, OWN),
    "transactional producer": lambda s: kafka.transactional_producer(s.kafka, "t", 10_000, OWN),
    "reader": lambda s: kafka.reader(s.kafka, "g", OWN),
    "worker's consumer": lambda s: kafka.worker_consumer(s, OWN),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_it_comes_last(name: str) -> None:
    said = {"linger.ms": 77, "fetch.wait.max.ms": 78, "session.timeout.ms": 6_000, "log_level": 7}
    made = CLIENTS[name](load_settings(kafka={"client": said}))
    assert {option: made[option] for option in said} == said


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_not_said_stays(name: str) -> None:
    plain = CLIENTS[name](load_settings())
    said = CLIENTS[name](load_settings(kafka={"client": {"client.id": "me"}}))
    assert said == plain | {"client.id": "me"}
    assert plain["log_level"] == 0


@pytest.mark.parametrize("option", [*REFUSED, "error_cb", "logger"])
def test_what_promises_rest_on_is_refused_by_name(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_KAFKA__CLIENT", json.dumps({"client.id": "me", option: "1"}))
    with pytest.raises(SettingsError, match=rf"MARQUEE_KAFKA__CLIENT\): .*{option}.* ") as refusal:
        load_settings()
    assert refusal.value.exit_code == 2


def test_a_refusal_shows_no_other_option_s_value() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(kafka={"client": {"sasl.password": "hunter2", "group.id": "x"}})
    assert "hunter2" not in str(refusal.value)

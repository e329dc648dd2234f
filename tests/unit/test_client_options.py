"""MARQUEE_KAFKA__CLIENT: what it says comes last everywhere, and what must not be said is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas import kafka
from schemas.connection_settings import REFUSED
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


def test_a_request_may_last_as_long_as_a_transaction_at_most() -> None:
    longest = load_settings().worker.transaction_timeout_ms
    for said in (longest, str(longest)):
        settings = load_settings(kafka={"client": {"socket.timeout.ms": said}})
        Producer(kafka.transactional_producer(settings.kafka, "t", longest))
    with pytest.raises(
        SettingsError, match=r"socket\.timeout\.ms of 60000.*MARQUEE_WORKER__SESSION_TIMEOUT_MS"
    ):
        load_settings(kafka={"client": {"socket.timeout.ms": 60_000}})
    load_settings(kafka={"client": {"socket.timeout.ms": 60_000}}, worker={"session_timeout_ms": 70_000})
    with pytest.raises(SettingsError, match=r"socket\.timeout\.ms of soon"):
        load_settings(kafka={"client": {"socket.timeout.ms": "soon"}})


@pytest.mark.parametrize("transaction_ms", [10_000, 30_000, 60_000])
def test_a_long_request_is_cut_to_the_transactions_of_every_process(transaction_ms: int) -> None:
    """As the outcomes worker and redrive have them, whose transactions do not follow the session timeout."""
    settings = load_settings(
        kafka={"client": {"socket.timeout.ms": 60_000}}, worker={"session_timeout_ms": 70_000}
    )
    made = kafka.transactional_producer(settings.kafka, "t", transaction_ms)
    Producer(made)
    assert made["socket.timeout.ms"] == transaction_ms
    assert kafka.reader(settings.kafka, "g")["socket.timeout.ms"] == 60_000


@pytest.mark.parametrize("group", ["worker", "outcomes"])
def test_a_session_longer_than_a_poll_may_stay_away_is_refused_by_name(group: str) -> None:
    named = rf"MARQUEE_{group.upper()}__SESSION_TIMEOUT_MS of 400000.*MARQUEE_WORKER__MAX_POLL_INTERVAL_MS of 300000"
    with pytest.raises(SettingsError, match=named):
        load_settings(**{group: {"session_timeout_ms": 400_000}})

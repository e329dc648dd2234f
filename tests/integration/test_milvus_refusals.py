"""A worker whose Milvus refuses: the token, once or from now on; or one event alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from producer.endings import DeadLetter, Result
from schemas.settings import Settings
from tests.integration.test_worker import assert_each_once, everything, publish
from tests.testbed.indexing import activate
from tests.testbed.milvus_proxy import Fault, MilvusProxy, refusal
from tests.testbed.processes import Process, wait_for

AWAY, REFUSED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED
NO_COPY: Any = {"MARQUEE_WORKER__EXACT_MAX_MB": "0"}
WITH_COPY: Any = {"MARQUEE_MILVUS__EXACT_AFTER_S": "0"}


@pytest.fixture
def settings(lite_settings: Settings, fusion_store: str) -> Settings:
    return lite_settings.model_copy(update={"store": fusion_store})


@pytest.fixture
def proxy(settings: Settings) -> Iterator[MilvusProxy]:
    with MilvusProxy(settings.milvus.uri) as proxy:
        yield proxy


def behind(settings: Settings, proxy: MilvusProxy) -> Settings:
    milvus = settings.milvus.model_copy(update={"uri": proxy.uri})
    return settings.model_copy(update={"milvus": milvus})


@pytest.mark.parametrize(
    ("faults", "copy"),
    [([AWAY, REFUSED], NO_COPY), ([AWAY, REFUSED], WITH_COPY), ([REFUSED], NO_COPY)],
    ids=["on-coming-back", "on-coming-back-with-a-copy", "while-serving"],
)
def test_a_refused_token_ends_the_worker_with_a_sentence_whenever_it_is_refused(
    settings: Settings, proxy: MilvusProxy, tmp_path: Path, faults: list[Fault], copy: Any
) -> None:
    activate(settings)
    with Process("worker", behind(settings, proxy), tmp_path, **copy) as worker:
        worker.wait_ready()
        proxy.next_faults.extend(faults)
        publish(settings, [b'{"user_id": 1}'])
        assert worker.child.wait(60) == 2
        assert "set MARQUEE_MILVUS__TOKEN" in worker.output


def events() -> list[bytes | None]:
    """Twenty, of which the sixth asks for a genre whose name Lite's expressions cannot hold."""
    asked: list[dict[str, Any]] = [{"user_id": i + 1} for i in range(20)]
    asked[5]["filter"] = {"genres": ["a\u0001b"]}
    return [json.dumps(event).encode() for event in asked]


def test_an_event_that_milvus_refuses_becomes_a_dead_letter_and_stops_no_other(
    settings: Settings, tmp_path: Path
) -> None:
    activate(settings)
    sent = publish(settings, events())
    with Process("worker", settings, tmp_path, **NO_COPY) as worker:
        outcomes = everything(settings, len(sent))
        worker.wait_ready()
        assert_each_once(sent, outcomes)
        letters = [outcome for outcome in outcomes if isinstance(outcome, DeadLetter)]
        assert [letter.reason for letter in letters] == ["processing_failed"]
        assert sent[letters[0].source] == events()[5]


def test_an_event_that_milvus_refuses_is_searched_exactly_where_there_is_a_copy(
    settings: Settings, tmp_path: Path
) -> None:
    activate(settings)
    sent = publish(settings, events())
    with Process("worker", settings, tmp_path) as worker:
        outcomes = everything(settings, len(sent))
        worker.wait_ready()
    assert_each_once(sent, outcomes)
    assert all(isinstance(outcome, Result) for outcome in outcomes)


def test_a_server_s_error_for_one_vector_is_that_event_s_own(
    settings: Settings, proxy: MilvusProxy, tmp_path: Path
) -> None:
    """Given a Milvus that fails each search with a year."""
    activate(settings)
    proxy.fault_of = lambda request: (
        refusal("worker(1) query failed") if b"1991" in request.dsl.encode() else None
    )
    good: list[bytes | None] = [json.dumps({"user_id": i + 1}).encode() for i in range(20)]
    sent = publish(settings, [*good, b'{"filter": {"years": [1991, 1999]}}'])
    with Process("worker", behind(settings, proxy), tmp_path, **NO_COPY) as worker:
        outcomes = everything(settings, len(sent))
        assert_each_once(sent, outcomes)
        assert sum(isinstance(outcome, DeadLetter) for outcome in outcomes) == 1
        worker.wait_ready()


def test_an_error_that_milvus_calls_passing_makes_no_dead_letter(
    settings: Settings, proxy: MilvusProxy, tmp_path: Path
) -> None:
    activate(settings)
    limited = refusal("request rate limited", 8)
    with Process("worker", behind(settings, proxy), tmp_path, **NO_COPY) as worker:
        worker.wait_ready()
        proxy.next_faults.extend([limited] * 8)
        sent = publish(settings, [b'{"user_id": 1}'])
        assert all(isinstance(outcome, Result) for outcome in everything(settings, len(sent)))
        wait_for("all faults", lambda: not proxy.next_faults)

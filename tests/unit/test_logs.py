"""Log lines: text or JSON, not too many, and without the content of events."""

import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from ops.deployment import logs
from schemas.dead_letter import Reason
from schemas.settings import LogSettings
from tests.unit.events import PolledEvent
from worker.events import Answer, Record, Rejection, encode_dead_letter, log_fields, report_dead_letters

SECRET = "gender F, watched 1193"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the rate limit; [0] moves it."""
    now = [1_000.0]
    monkeypatch.setattr("ops.deployment.logs.time.monotonic", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def set_up(kind: Literal["text", "json"], level: Literal["DEBUG", "INFO"] = "INFO") -> logging.Logger:
    logs.set_up(LogSettings(format=kind, level=level))
    return logging.getLogger("worker.test")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json_lines_have_partition_and_offset_as_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up("json")

    log.error("cannot answer", extra=log_fields(PolledEvent(), "20261121T101500-3f9c2a"))

    (line,) = lines(capsys)
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "worker.test", "cannot answer")
    assert (line["topic"], line["partition"], line["offset"]) == ("marquee.profiles", 3, 1042)
    assert line["release"] == "20261121T101500-3f9c2a"


def test_text_lines_are_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text").info("serving release %s", "r")
    assert capsys.readouterr().err.endswith("INFO    worker.test: serving release r\n")


def fail() -> None:
    try:
        int(SECRET)
    except ValueError as error:
        raise TypeError(f"bad: {SECRET}") from error


@pytest.mark.parametrize("kind", ["text", "json"])
def test_an_exception_quotes_nothing_at_the_default_level(
    kind: Literal["text", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    log = set_up(kind)
    try:
        fail()
    except TypeError:
        log.exception("cannot answer")

    shown = capsys.readouterr().err
    assert SECRET not in shown
    assert "TypeError, at:" in shown
    assert "ValueError, at:" in shown
    assert "test_logs.py" in shown


def test_debug_lines_contain_the_whole_exception(capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up("text", "DEBUG")
    try:
        fail()
    except TypeError:
        log.exception("cannot answer")
    assert SECRET in capsys.readouterr().err


def test_repeated_lines_are_suppressed_and_counted(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    log = set_up("json")

    # Given 100 lines of one kind at once, lifecycle lines and one of another kind among them
    for number in range(100):
        log.warning("cannot answer %d, 100%% sure", number)
        log.info("assigned %d", number)
    log.warning("another")
    clock[0] += logs.WINDOW_SECONDS
    log.warning("cannot answer %d, 100%% sure", 100)

    # Then
    said = lines(capsys)
    of_kind = [line for line in said if line["message"].startswith("cannot")]
    assert [line["message"][:15] for line in of_kind[:-1]] == [
        f"cannot answer {n}" for n in range(logs.BURST)
    ]
    assert of_kind[-1]["left_out"] == 95
    assert of_kind[-1]["message"] == "cannot answer 100, 100% sure (95 more of this kind were dropped)"
    assert sum(line["level"] == "INFO" for line in said) == 100
    assert said[-2]["message"] == "another"


def test_dead_letters_are_logged_once_a_transaction_without_their_content(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up("json")
    event = PolledEvent(body=SECRET.encode())
    record = encode_dead_letter("dead-letters", event, Rejection(Reason.NOT_JSON, f"no JSON: {SECRET}"), "r")
    good = Answer(PolledEvent(), Record("recommendations", 3, None, b"{}", []))

    report_dead_letters([good, *[Answer(event, record, Reason.NOT_JSON)] * 3])
    report_dead_letters([good])

    (line,) = lines(capsys)
    assert line["message"] == (
        "3 of 4 events ended as dead letters; the first is marquee.profiles-3-1042: not_json, with release r"
    )
    assert (line["offset"], line["release"]) == (1042, "r")

"""Moments, waits and counts that no clock, timer or counter takes are refused by a sentence, with exit code 2."""

from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from ops.cli import build_app
from ops.commands.options import moment


@pytest.mark.parametrize(
    "text",
    [
        "9999999d",
        "99999999999999d",
        "9" * 400 + "s",
        "0001-01-01",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00+23:59",
        "-1h",
        "now",
        "",
    ],
)
def test_a_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text)


def test_moments_are_in_utc() -> None:
    assert moment("2026-11-28T10:00+02:00") == datetime(2026, 11, 28, 8, tzinfo=UTC)
    assert moment("1970-01-01") == datetime(1970, 1, 1, tzinfo=UTC)


RELEASE = "20261121T101500-3f9c2a"


@pytest.mark.parametrize(
    "command",
    [
        ["dead-letters", "list", "--since", "9999999d"],
        ["dead-letters", "list", "--until", "0001-01-01"],
        ["replay", "--release", RELEASE, "--out", "x", "--from", "9999999d"],
        ["replay", "--release", RELEASE, "--out", "x", "--to", "9" * 30],
        ["replay", "--release", RELEASE, "--out", "x", "--partition", "9" * 12],
        ["replay", "--release", RELEASE, "--out", "x", "--timeout", "nan"],
        ["watch", "--timeout", "inf"],
        ["watch", "--limit", "9" * 30],
        ["topics", "--timeout", "nan"],
        ["topics", "--timeout", "1e300"],
        ["status", "--timeout", "nan"],
        ["doctor", "--timeout", "nan"],
        ["recommend", "--timeout", "nan"],
        ["withdraw", "1", "--timeout", "nan"],
        ["publish", "-", "--rate", "nan"],
        ["publish", "-", "--limit", "9" * 30],
        ["shadow", RELEASE, "--share", "nan"],
        ["canary", RELEASE, "--share", "nan"],
        ["train", "--lr", "nan", "x"],
        ["diff", RELEASE, RELEASE, "--seed", "-1"],
    ],
    ids=" ".join,
)
def test_numbers_that_nothing_takes_are_wrong_use(command: list[str]) -> None:
    done = CliRunner().invoke(build_app(), command)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert "Missing" not in done.output and "No such" not in done.output

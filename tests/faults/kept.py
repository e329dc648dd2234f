"""Assertions on a small run of a scenario."""

from pathlib import Path

import pytest

from tests.faults.scenario import Result, Scenario
from tests.faults.suite import Suite

EVENTS = 2_000


def assert_kept(result: Result) -> None:
    if (result.verdict, result.findings, result.reason) != ("kept", {}, ""):
        # Not an assertion: pytest would print what differs twice, and the end of the reason among it.
        pytest.fail(f"{result.verdict} {result.findings} {result.examples} {result.reason}", pytrace=False)
    assert result.events >= EVENTS


def is_not_run(scenario: Scenario, folder: Path) -> bool:
    """Whether the machine lacks a requirement of the scenario; if so, assert that the suite reports it."""
    missing = scenario.obstacle()
    if missing:
        result = Suite(folder, milvus="lite").run([scenario], lambda _: None)[0]
        assert (result.verdict, result.reason, result.faults) == ("not run", missing, 0)
    return bool(missing)

"""The report: what was not run again keeps the result that was published."""

from dataclasses import replace
from pathlib import Path

from ops.faults.report import Report, published
from ops.faults.scenario import Result
from ops.faults.scenarios import SCENARIOS
from ops.faults.suite import Suite

BROKER = Result("broker", "kept", "full", 1, "standalone", events=7, injected={"kill -9": 2}, date="then")


def test_what_has_no_result_here_keeps_the_published_one(tmp_path: Path) -> None:
    suite = Suite(tmp_path, "full")
    small = replace(BROKER, scenario="swap", scale="small")
    Report("marquee faults", [BROKER, small]).write(tmp_path / "faults")

    found = suite.kept([SCENARIOS["broker"], SCENARIOS["swap"]], published(tmp_path / "faults"))

    assert found[0] == BROKER
    assert (found[1].scenario, found[1].verdict) == ("swap", "not run")


def test_nothing_is_published_before_the_first_report(tmp_path: Path) -> None:
    assert published(tmp_path / "faults") == []

"""The report keeps published results of scenarios that were not run, and marks gaps beyond the budget."""

from dataclasses import replace
from pathlib import Path

from tests.faults.report import BEYOND, Report, budget_of, published
from tests.faults.scenario import Result, Wait, may
from tests.faults.scenarios import SCENARIOS
from tests.faults.suite import Suite

BROKER = Result("broker", "kept", "full", 1, "standalone", events=7, injected={"kill -9": 2}, date="then")


def test_a_scenario_without_a_new_result_keeps_the_published_one(tmp_path: Path) -> None:
    suite = Suite(tmp_path, "full")
    small = replace(BROKER, scenario="swap", scale="small")
    Report("make faults", [BROKER, small]).write(tmp_path / "faults")

    found = suite.kept([SCENARIOS["broker"], SCENARIOS["swap"]], published(tmp_path / "faults"))

    assert found[0] == BROKER
    assert (found[1].scenario, found[1].verdict) == ("swap", "not run")


def test_nothing_is_published_before_the_first_report(tmp_path: Path) -> None:
    assert published(tmp_path / "faults") == []


def test_every_scenario_says_how_long_a_partition_may_stand_still() -> None:
    for scenario in SCENARIOS.values():
        assert scenario.budget is not None, scenario.name
        assert all(wait.seconds > 0 and wait.words for wait in scenario.budget.waits), scenario.name


def test_a_budget_is_the_sum_of_its_waits_and_names_each() -> None:
    budget = may(Wait(16, "session") * 6, Wait(4, "rebalance"), why="Six kills in a row.")

    assert budget.seconds == 100
    assert str(budget) == "6 × 16 s session + 4 s rebalance. Six kills in a row."


def test_a_gap_beyond_the_budget_is_marked_and_explained_and_the_verdict_stays() -> None:
    budget = budget_of(BROKER)
    assert budget is not None
    over = replace(BROKER, longest_gap_s=budget.seconds + 7, remark="the disk was slow")

    text = Report("make faults", [over]).markdown()

    row = next(line for line in text.splitlines() if line.startswith("| broker | 2 "))
    assert f"| kept | {budget.seconds:g} | {budget.seconds + 7:.1f} {BEYOND} |" in row
    assert f"7.0 s beyond the budget of {budget.seconds:g} s**: the disk was slow" in text
    assert f"| broker | {budget.seconds:g} | {budget} |" in text


def test_a_gap_within_the_budget_is_not_marked() -> None:
    text = Report("make faults", [replace(BROKER, longest_gap_s=1.0)]).markdown()

    assert f"1.0 {BEYOND}" not in text
    assert "beyond the budget of" not in text


def test_the_published_report_is_that_of_its_results() -> None:
    docs = Path(__file__).parents[2] / "docs"
    lines = (docs / "faults.md").read_text().splitlines()
    made = Report("", published(docs / "faults")).markdown().splitlines()

    assert [line for line in lines if line.startswith(("| ", "- **"))] == [
        line for line in made if line.startswith(("| ", "- **"))
    ]

"""The parts of the benchmark that need no server: statistics, schedule, figures, report and plots."""

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import numpy as np
import pytest

from ops.local.process import ChildProcess
from schemas.errors import MarqueeError
from schemas.profile import ProfileEvent
from tests.bench import suite
from tests.bench.contenders import EXACT, EXACT_PEER, MARQUEE, PEERS, SEED, Contender
from tests.bench.cores import cores_of
from tests.bench.deployment import Deployment
from tests.bench.figures import BOUNDS, TARGETS, Point, Results, Round, rows, spreads
from tests.bench.limits import Ceiling, Limits
from tests.bench.live import due
from tests.bench.measurement import Latency, Measured
from tests.bench.plan import CURVES, QUICK, interleaved, steps_of
from tests.bench.plots import write_plots
from tests.bench.profile import costs
from tests.bench.report import Report
from tests.bench.statistics import Spread, between, quantile_ms, ratios, steady_window
from tests.bench.workload import drafts, endless


def test_a_rate_leaves_out_the_warming_up_and_the_end() -> None:
    slow_start = np.linspace(0.0, 10.0, 25, endpoint=False)
    steady = 10.0 + np.arange(75) / 100  # 100 a second

    window = steady_window(np.concatenate([slow_start, steady]))

    assert window.events == 70
    assert window.events_per_second == pytest.approx(100.0)


@pytest.mark.parametrize("moments", [[], [1.0], [1.0, 1.0, 1.0]])
def test_no_rate_of_one_moment(moments: list[float]) -> None:
    with pytest.raises(ValueError, match="too few"):
        steady_window(np.array(moments))


def test_a_counter_is_interpolated_between_its_samples() -> None:
    assert between([(0.0, 0.0), (1.0, 2.0), (2.0, 2.0)], 0.5, 1.5) == pytest.approx(1.0)


def test_medians_and_quantiles() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert Spread.of([]) is None
    assert quantile_ms(np.arange(1, 101) / 1_000, 0.99) == pytest.approx(100.0)
    assert quantile_ms(np.array([]), 0.5) is None
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_each_round_has_every_contender_and_another_first_one() -> None:
    rounds = [order for _, order in interleaved("abc", 4)]

    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert [order[0] for order in rounds] == ["a", "b", "c", "a"]


def test_events_are_due_at_a_steady_rate() -> None:
    assert [due(elapsed, 100.0) for elapsed in (0.0, 0.009, 0.0101, 1.0)] == [1, 1, 2, 101]


def test_pinned_leaves_each_side_one_core_of_its_own() -> None:
    pinned = cores_of("pinned", {3, 1, 2})

    assert (set(pinned.milvus), set(pinned.others)) == ({1}, {2})
    assert cores_of("shared", {0, 1}).milvus == {0, 1}
    with pytest.raises(MarqueeError, match="two cores"):
        cores_of("pinned", {0})


def test_events_are_profiles_with_ids_of_their_own() -> None:
    pool = drafts([7, 8], [1, 2, 3], 10, history=3)

    published = list(islice(endless(pool, distinct=2), 5))

    events = [ProfileEvent.model_validate_json(value) for _, value in published]
    assert len({event.event_id for event in events}) == 5
    assert len({event.model_copy(update={"event_id": None}).model_dump_json() for event in events}) == 2
    assert all(len(event.recent or ()) == 3 for event in events)
    assert [key for key, _ in published] == [str(event.user_id).encode() for event in events]


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_goes_upwards(curve: str) -> None:
    steps = list(steps_of(curve))

    assert [step.x for step in steps] == sorted(step.x for step in steps)
    assert all(step.expected >= 100 for step in steps)


def test_a_profile_adds_up_lines_of_one_function() -> None:
    stacks = ["main (a.py:1);search (b.py:5) 6", "main (a.py:2);search (b.py:9) 2", "main (a.py:3) 2"]

    search, main = costs(stacks)

    assert (search.function, search.own, search.with_callees) == ("search (b.py)", 0.8, 0.8)
    assert (main.function, main.own, main.with_callees) == ("main (a.py)", 0.2, 1.0)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: str(peer.name))
def test_peers_are_pinned_with_hashes(peer: object) -> None:
    name = getattr(peer, "name", "")
    lock = (Path(suite.__file__).parent / "peers" / f"{name}.txt").read_text()
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]

    assert any(line.startswith(f"{name}==") for line in requirements)
    assert all("==" in line for line in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)
    assert not re.search(r"https?://", lock)


def run_of(name: str, rate: float, p50_ms: float = 5.0) -> Measured:
    latencies = {
        "slow": Latency(100.0, p50_ms, 3 * p50_ms, 200, 0),
        "half": Latency(rate / 2, 2 * p50_ms, 5 * p50_ms, 900, 0),
        "ninety": Latency(rate * 0.9, None, None, 900, 900),
    }
    return Measured(name, f"Marquee {name}", "exactly once", 10_000, rate, 60.0, 500.0, latencies)


@pytest.fixture
def results() -> Results:
    limits = Limits([Ceiling(1_024, 1, 9_000.0, 8.0), Ceiling(1_024, 2, 10_000.0, 10.0)], 5.0)
    shared = Round("shared", limits=limits)
    for name, rate in {
        "echo": 100_000.0,
        MARQUEE.name: 8_000.0,
        EXACT.name: 30_000.0,
        SEED.name: 200.0,
        PEERS[0].name: 2_000.0,
        PEERS[1].name: 1_000.0,
        EXACT_PEER.name: 10_000.0,
    }.items():
        shared.measured[name] = run_of(name, rate)
    slower = replace(shared, measured={MARQUEE.name: run_of(MARQUEE.name, 6_000.0, p50_ms=7.0)})
    pinned = Round("pinned", {MARQUEE.name: run_of(MARQUEE.name, 9_500.0)}, limits)
    points = [Point("batch", x, run_of("milvus", 100.0 * x)) for x in (1, 16)]
    return Results([shared, slower, pinned], points, [run_of(MARQUEE.name, 3_500.0)])


def test_figures_are_medians_of_ratios_within_rounds(results: Results) -> None:
    found = {name: spread and spread.median for name, spread in spreads(results).items()}

    assert found == pytest.approx(
        {
            "milvus_pinned_ratio": 0.95,
            "milvus_shared_ratio": 0.7,
            "over_seed": 40.0,
            "over_best_peer": 4.0,
            "exact_over_peer": 3.0,
            "exact_events_per_second": 30_000.0,
            "exact_over_echo": 0.3,
            "cpu_us_per_event": 60.0 - 10.0 - 5.0,
            "p50_ms_at_100": 6.0,
            "p99_ms_at_100": 18.0,
            "p50_ms_at_half": 12.0,
            "p99_ms_at_half": 30.0,
            "replicated_ratio": 0.5,
        }
    )


def test_parts_that_were_not_run_have_no_figure() -> None:
    found = spreads(Results())

    assert found.keys() == TARGETS.keys() | BOUNDS.keys()
    assert set(found.values()) == {None}


def test_events_without_a_result_leave_no_latency(results: Results) -> None:
    (row,) = [row for row in rows(results, "shared") if row.name == MARQUEE.name]

    assert row.latencies == {"100/s": (6.0, 18.0), "half of maximum": (12.0, 30.0)}
    assert row.cells[2] == "7,000 (6,000–8,000)"
    assert row.cells[-1] == "–"


def test_the_report_contains_figures_command_and_failures(results: Results, tmp_path: Path) -> None:
    results.failures["shared, round 1: bytewax"] = "it could not be installed"

    Report("make bench ARGS=--quick", results, "2026-11-22T07:00:00+00:00", 300.0).write(tmp_path / "speed")

    written = json.loads((tmp_path / "speed.json").read_text())
    assert written["over_best_peer"] == 4.0
    assert written["command"] == "make bench ARGS=--quick"
    assert {"Python", "Kafka", "librdkafka", "paddlepaddle"} <= written["versions"].keys()
    text = (tmp_path / "speed.md").read_text()
    assert "| over_best_peer | 4 | 4–4 | 1 | ≥ 4 | yes |" in text
    assert "| milvus_shared_ratio | 0.7 | 0.6–0.8 | 2 | ≥ 0.8 | no |" in text
    # 30,000 are less than 50,000, and more than a quarter of the echo, which is less.
    assert (
        "| exact_events_per_second | 30,000 | 30,000–30,000 | 1 | ≥ 50,000 (one of the two) | yes |" in text
    )
    assert "bytewax failed: it could not be installed" in text
    for name in re.findall(r"\]\((.*?\.svg)\)", text):
        assert (tmp_path / name).is_file()


def test_a_new_report_keeps_the_text_written_by_hand(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("old figures\n<!-- by hand -->\nwhy it is so\n")

    Report("make bench", results, "2026-11-22T07:00:00+00:00", 300.0).write(tmp_path / "speed")

    assert "old figures" not in page.read_text()
    assert page.read_text().endswith("\n\n<!-- by hand -->\nwhy it is so\n")


def test_plots_are_the_same_bytes_for_the_same_figures(results: Results, tmp_path: Path) -> None:
    first = write_plots(tmp_path / "a", rows(results, "shared"), 10_000.0, results.points)
    again = write_plots(tmp_path / "b", rows(results, "shared"), 10_000.0, results.points)

    assert [path.name for path in first] == ["a-speed.svg", "a-latency.svg", "a-growth.svg"]
    for path, same in zip(first, again, strict=True):
        assert path.read_bytes() == same.read_bytes()
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_a_slow_machine_is_given_less_to_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine on which everybody does a third of what is expected
    laid_out: list[tuple[str, float]] = []

    def third(contender: Contender, *_: object, expected: float, **__: object) -> Measured:
        laid_out.append((contender.name, expected))
        return run_of(contender.name, contender.expected / 3)

    monkeypatch.setattr(suite, "measure", third)
    bench = suite.Bench(tmp_path, QUICK, frozenset(), 1024, lambda _: None)
    # When three runs are made one after another
    for contender in (MARQUEE, EXACT, MARQUEE):
        bench._attempt("shared", contender, cast(Deployment, None), [], QUICK.pace)
    # Then the first gets what is expected, and those after it a third; the first again what it did
    assert laid_out == [
        (MARQUEE.name, MARQUEE.expected),
        (EXACT.name, pytest.approx(EXACT.expected / 3)),
        (MARQUEE.name, pytest.approx(MARQUEE.expected / 3)),
    ]


def test_a_failure_is_reported_without_the_log_and_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = ChildProcess("milvus-1", ["true"], log=tmp_path / "milvus-1.log")
    child.log.write_text("waiting\n")

    def stands_still(*_: object, **__: object) -> Measured:
        raise MarqueeError(f"milvus-1 makes no progress.{child.log_tail()}")

    monkeypatch.setattr(suite, "measure", stands_still)
    said: list[str] = []
    bench = suite.Bench(tmp_path, QUICK, frozenset(), 1024, said.append)
    assert bench._attempt("shared", MARQUEE, cast(Deployment, None), [], QUICK.pace) is None
    # The progress line contains all of it; the report is for the repository.
    assert bench.results.failures == {"shared: milvus": "milvus-1 makes no progress."}
    assert str(tmp_path) in said[0]
    assert "waiting" in said[0]

"""Scenarios with servers of their own: three nodes, a full disk, a wrong clock. The promise holds there, too."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.kept import EVENTS, assert_kept, is_not_run
from tests.faults.scenario import Size
from tests.faults.scenarios import SCENARIOS
from tests.faults.scenarios.nodes import cut_off
from tests.faults.servers import Servers, network_obstacle
from tests.faults.suite import run_scenario
from tests.faults.trial import Trial

pytestmark = pytest.mark.timeout(1_200)


def test_the_promise_holds_on_three_nodes(fusion_store: str, tmp_path: Path) -> None:
    """A leader killed, two killed at once, one stopped; and one cut off, where network namespaces can be had."""
    separate = network_obstacle() is None

    def run(trial: Trial) -> None:
        SCENARIOS["nodes"].run(trial)
        if separate:
            trial.size = Size(1, EVENTS)
            cut_off(trial)

    scenario = replace(SCENARIOS["nodes"], run=run, small=Size(3, EVENTS))
    with Servers(tmp_path / "servers", milvus="lite", nodes=3, separate=separate) as servers:
        result = run_scenario(scenario, servers, fusion_store, tmp_path)

    assert_kept(result)
    assert result.faults == 3 + separate


def test_the_promise_holds_on_a_full_disk(fusion_store: str, tmp_path: Path) -> None:
    """A disk of its own takes root."""
    scenario = replace(SCENARIOS["disk-full"], small=Size(1, EVENTS), protocols=("consumer",))
    if is_not_run(scenario, tmp_path):
        return

    with Servers(tmp_path / "servers", milvus="lite", disk_mb=scenario.disk_mb) as servers:
        result = run_scenario(scenario, servers, fusion_store, tmp_path)

    assert_kept(result)
    assert result.faults == 1


def test_the_promise_holds_by_a_wrong_clock(fusion_store: str, tmp_path: Path) -> None:
    """A wrong clock takes a C compiler."""
    scenario = replace(SCENARIOS["clock"], small=Size(2, EVENTS), protocols=("consumer",))
    if is_not_run(scenario, tmp_path):
        return

    with Servers(tmp_path / "servers", milvus="lite") as servers:
        result = run_scenario(scenario, servers, fusion_store, tmp_path)

    assert_kept(result)
    assert result.faults == 2

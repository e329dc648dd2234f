"""The fault suite on real Kafka and Milvus Lite: the promise holds under each kind of fault, and broken workers are found out.

Most workers here are in a group of KIP-848, because its session timeout is the broker's, and short.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops.faults.orders import Order
from ops.faults.scenario import Result, Scenario, Size
from ops.faults.scenarios import SCENARIOS
from ops.faults.scenarios.stalls import stop_at
from ops.faults.scenarios.unknown_outcome import Outcome, withhold
from ops.faults.servers import Servers
from ops.faults.suite import run_scenario
from ops.faults.trial import Trial

QUICK = {"MARQUEE_WORKER__GROUP_PROTOCOL": "consumer"}
EVENTS = 2_000

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("faults"), milvus="lite") as servers:
        yield servers


@pytest.mark.parametrize(
    ("name", "faults", "variables"),
    [
        ("kill9", 2, QUICK),
        ("points", 8, QUICK),
        ("broker", 1, QUICK),
        ("zombie", 1, QUICK),
        ("slow-batch", 1, {}),
        ("rebalances", 2, {}),
        ("milvus", 4, QUICK),
        ("poison", 0, QUICK),
        ("unknown-outcome", 2, QUICK),
    ],
)
def test_the_promise_holds(
    name: str, faults: int, variables: dict[str, str], servers: Servers, fusion_store: str, tmp_path: Path
) -> None:
    scenario = replace(SCENARIOS[name], small=Size(faults, EVENTS))
    if len(scenario.protocols) > 1 and name != "rebalances":
        scenario = replace(scenario, protocols=("consumer",))

    result = run_scenario(scenario, servers, fusion_store, tmp_path, variables=variables)

    assert (result.verdict, result.findings, result.reason) == ("kept", {}, ""), result
    assert result.faults >= faults
    assert result.events >= EVENTS


def broken(
    run: Callable[[Trial], None],
    servers: Servers,
    store: str,
    folder: Path,
    *patches: str,
    workers: int = 1,
    delivery: str = "exactly-once",
) -> Result:
    """What the suite says about workers that are broken on purpose."""
    scenario = Scenario("broken", "", run, Size(1, EVENTS), Size(1, EVENTS), workers=workers)
    variables = QUICK | {"MARQUEE_WORKER__DELIVERY": delivery}
    named = tuple(f"tests.faults.breakages:{patch}" for patch in patches)
    return run_scenario(scenario, servers, store, folder, variables=variables, patches=named)


def kill_once(point: str) -> Callable[[Trial], None]:
    def run(trial: Trial) -> None:
        trial.start_workers(trial.scenario.workers)
        assert trial.order(trial.somebody_at_work(), Order(point, "kill"))

    return run


def test_at_least_once_repeats(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    run = kill_once("after-first-produce")

    result = broken(run, servers, fusion_store, tmp_path, delivery="at-least-once")

    assert result.verdict == "BROKEN"
    assert result.findings.keys() == {"duplicated"}


def test_offsets_before_the_work_lose(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    run = kill_once("after-search")

    result = broken(run, servers, fusion_store, tmp_path, "offsets_before_the_work")

    assert result.verdict == "BROKEN"
    assert result.findings["lost"] > 0


def test_a_stranger_s_metadata_lets_a_zombie_through(
    servers: Servers, fusion_store: str, tmp_path: Path
) -> None:
    def run(trial: Trial) -> None:
        trial.start_workers(trial.scenario.workers)
        stop_at(trial, ["before-begin"])

    result = broken(run, servers, fusion_store, tmp_path, "metadata_of_a_stranger", workers=2)

    assert result.verdict == "BROKEN"
    assert result.findings["duplicated"] > 0


def test_positions_from_memory_lose(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    def run(trial: Trial) -> None:
        withhold(trial, [Outcome("commit", landed=False)])

    result = broken(run, servers, fusion_store, tmp_path, "positions_from_memory")

    assert result.verdict == "BROKEN"
    assert result.findings["lost"] > 0

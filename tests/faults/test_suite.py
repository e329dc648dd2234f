"""The fault suite on real Kafka and Milvus Lite: the promise holds under each kind of fault, and broken workers are found out.

Most workers here are in a group of KIP-848, because its session timeout is the broker's, and short. To start servers and
workers takes longer than most faults, so faults of many kinds befall the same ones, one kind after another.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.kept import EVENTS, assert_kept
from tests.faults.saboteur import POINTS, Order
from tests.faults.scenario import Result, Scenario, Size
from tests.faults.scenarios import SCENARIOS
from tests.faults.scenarios.group import Outcome, withhold
from tests.faults.scenarios.poison import poisoned
from tests.faults.scenarios.workers import stop_at
from tests.faults.servers import Servers
from tests.faults.suite import run_scenario
from tests.faults.trial import Trial

QUICK = {
    "MARQUEE_WORKER__MAX_POLL_INTERVAL_MS": "10000",
    "MARQUEE_MILVUS__TIMEOUT_S": "3",
    "MARQUEE_MILVUS__EXACT_AFTER_S": "3",
}
# How many faults of each scenario, in this order: Milvus first, as it must see no rebalance.
PARTS = {
    "milvus": 4,
    "slow-batch": 2,
    "zombie": 1,
    "unknown-outcome": 4,
    "rebalances": 2,
    "kill9": 2,
    "points": 8,
    "broker-stopped": 1,
    "broker": 1,
}

pytestmark = pytest.mark.timeout(1_200)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("faults"), milvus="lite") as servers:
        yield servers


def test_the_promise_holds_whatever_happens(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    """All faults of one broker, and poison among the events; at least ten kills."""

    def run(trial: Trial) -> None:
        assert trial.kafka_proxy and trial.milvus_proxy  # both, before the first worker starts
        for name, faults in PARTS.items():
            trial.size = Size(faults, EVENTS)
            SCENARIOS[name].run(trial)

    size = Size(0, EVENTS)
    scenario = Scenario("everything", "", run, size, size, protocols=("consumer",), make=poisoned, rate=200.0)

    result = run_scenario(scenario, servers, fusion_store, tmp_path, variables=QUICK)

    assert_kept(result)
    assert result.faults == sum(PARTS.values())
    assert sum(count for kind, count in result.injected.items() if kind.startswith("kill -9")) > 10
    assert {f"kill -9 {point}" for point in POINTS} - {"kill -9 before-begin"} <= result.injected.keys()


def test_a_lost_assignment_keeps_nobody_waiting(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    """Under the default `max.poll.interval.ms` the new member would wait for 5 minutes, longer than the suite does."""
    result = run_scenario(SCENARIOS["lost-assignment"], servers, fusion_store, tmp_path)

    assert_kept(result)
    assert result.injected == {"assignment lost": 1}


def test_releases_take_over_from_each_other(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    """Swaps between releases of three dimensions, a worker and an indexer killed, a canary, commands sent twice."""
    scenario = replace(SCENARIOS["swap"], small=Size(4, EVENTS))

    result = run_scenario(scenario, servers, fusion_store, tmp_path, variables=QUICK)

    assert_kept(result)
    assert result.injected == {
        "swap": 4,
        "kill -9 worker": 1,
        "kill -9 indexer": 1,
        "canary": 1,
        "command repeated": 2,
    }
    assert any("recomputed from the named one alone, 0 differ" in note for note in result.notes)


def test_a_withdrawn_movie_is_not_recommended(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    """Withdrawals under load, each with a swap, the second also with a worker killed."""
    scenario = replace(SCENARIOS["withdraw"], small=Size(2, EVENTS))

    result = run_scenario(scenario, servers, fusion_store, tmp_path, variables=QUICK)

    assert_kept(result)
    assert result.injected["withdrawal"] == 2
    assert any("0 break the promise" in note for note in result.notes)


def broken(
    run: Callable[[Trial], None],
    servers: Servers,
    store: str,
    folder: Path,
    *patches: str,
    workers: int = 1,
) -> Result:
    """The result of the suite for deliberately broken workers or servers."""
    scenario = Scenario(
        "broken", "", run, Size(1, EVENTS), Size(1, EVENTS), protocols=("consumer",), workers=workers
    )
    named = tuple(f"tests.faults.breakages:{patch}" for patch in patches)
    return run_scenario(scenario, servers, store, folder, patches=named)


def kill_once(point: str) -> Callable[[Trial], None]:
    def run(trial: Trial) -> None:
        trial.start_workers(trial.scenario.workers)
        assert trial.order(trial.somebody_at_work(), Order(point, "kill"))

    return run


def test_results_before_their_offsets_repeat(servers: Servers, fusion_store: str, tmp_path: Path) -> None:
    run = kill_once("after-commit")

    # Offsets behind the results would be found out by the worker itself.
    patches = "results_before_offsets", "the_group_s_word_alone"
    result = broken(run, servers, fusion_store, tmp_path, *patches)

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


def test_a_group_that_forgets_its_offsets_is_not_believed(
    servers: Servers, fusion_store: str, tmp_path: Path
) -> None:
    run, forgets = kill_once("after-commit"), "a_group_that_forgets"

    assert_kept(broken(run, servers, fusion_store, tmp_path / "doubts", forgets))

    result = broken(run, servers, fusion_store, tmp_path / "believes", forgets, "the_group_s_word_alone")
    assert result.verdict == "BROKEN"
    assert result.findings.keys() == {"duplicated"}

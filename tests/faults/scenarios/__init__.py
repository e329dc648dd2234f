"""The scenarios, in the order in which the suite runs them."""

from tests.faults.scenario import Scenario
from tests.faults.scenarios.broker import BROKER, BROKER_AWAY, BROKER_STOPPED, DISK_FULL
from tests.faults.scenarios.clock import CLOCK
from tests.faults.scenarios.group import LOST_ASSIGNMENT, REBALANCES, UNKNOWN_OUTCOME
from tests.faults.scenarios.milvus import MILVUS
from tests.faults.scenarios.nodes import CUT_OFF, NODES
from tests.faults.scenarios.poison import POISON
from tests.faults.scenarios.swap import SWAP
from tests.faults.scenarios.withdraw import WITHDRAW
from tests.faults.scenarios.workers import KILL9, POINTS, SLOW_BATCH, ZOMBIE

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        KILL9,
        POINTS,
        BROKER,
        BROKER_STOPPED,
        BROKER_AWAY,
        NODES,
        CUT_OFF,
        ZOMBIE,
        SLOW_BATCH,
        REBALANCES,
        LOST_ASSIGNMENT,
        MILVUS,
        POISON,
        DISK_FULL,
        CLOCK,
        UNKNOWN_OUTCOME,
        WITHDRAW,
        SWAP,
    )
}

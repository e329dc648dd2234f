"""The scenarios, in the order in which the suite runs them."""

from tests.faults.scenario import Scenario
from tests.faults.scenarios.broker import BROKER, BROKER_AWAY, BROKER_STOPPED
from tests.faults.scenarios.clock import CLOCK
from tests.faults.scenarios.disk_full import DISK_FULL
from tests.faults.scenarios.kills import KILL9, POINTS
from tests.faults.scenarios.lost_assignment import LOST_ASSIGNMENT
from tests.faults.scenarios.milvus import MILVUS
from tests.faults.scenarios.nodes import CUT_OFF, NODES
from tests.faults.scenarios.poison import POISON
from tests.faults.scenarios.rebalances import REBALANCES
from tests.faults.scenarios.stalls import SLOW_BATCH, ZOMBIE
from tests.faults.scenarios.swap import SWAP
from tests.faults.scenarios.unknown_outcome import UNKNOWN_OUTCOME
from tests.faults.scenarios.withdraw import WITHDRAW

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

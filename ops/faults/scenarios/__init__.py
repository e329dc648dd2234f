"""The scenarios, in the order in which the suite runs them."""

from ops.faults.scenario import Scenario
from ops.faults.scenarios.broker import BROKER, BROKER_AWAY, BROKER_STOPPED
from ops.faults.scenarios.clock import CLOCK
from ops.faults.scenarios.disk_full import DISK_FULL
from ops.faults.scenarios.kills import KILL9, POINTS
from ops.faults.scenarios.lost_assignment import LOST_ASSIGNMENT
from ops.faults.scenarios.milvus import MILVUS
from ops.faults.scenarios.nodes import CUT_OFF, NODES
from ops.faults.scenarios.poison import POISON
from ops.faults.scenarios.rebalances import REBALANCES
from ops.faults.scenarios.stalls import SLOW_BATCH, ZOMBIE
from ops.faults.scenarios.swap import SWAP
from ops.faults.scenarios.unknown_outcome import UNKNOWN_OUTCOME
from ops.faults.scenarios.withdraw import WITHDRAW

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

"""A worker joins a KIP-848 group, and the answer that tells another to make room for it is lost."""

from tests.faults.budget import Wait, may
from tests.faults.scenario import Scenario, Size
from tests.faults.scenarios.rebalances import REVOKE, leave
from tests.faults.scenarios.waits import TAKE_OVER
from tests.faults.trial import Trial
from worker.kafka.admin import TOLD_SECONDS


def lose_assignments(trial: Trial) -> None:
    """Each time one joins, has to wait for somebody who knows nothing of it, and works soon; then somebody leaves."""
    proxy = trial.kafka_proxy
    trial.start_workers(trial.scenario.workers)
    for _ in range(trial.size.faults):
        proxy.lose_assignment()
        newcomer = trial.add_worker()
        trial.until("the loss of an answer", lambda: proxy.has_lost_assignment)
        trial.injected["assignment lost"] += 1
        trial.until("the newcomer's work", lambda newcomer=newcomer: newcomer.at_work)  # type: ignore[misc]
        trial.progress()
        leave(trial)


LOST_ASSIGNMENT = Scenario(
    "lost-assignment",
    "a worker joins, and the coordinator's word to another that it make room is lost (KIP-848)",
    lose_assignments,
    small=Size(faults=1, events=3_000),
    full=Size(faults=20, events=50_000),
    budget=may(
        Wait(3.0, "timeout of the heartbeat whose answer was lost (socket.timeout.ms)"),
        Wait(TOLD_SECONDS, "before a worker whose partitions differ from the group's joins anew"),
        REVOKE,
        TAKE_OVER,
    ),
    protocols=("consumer",),
    workers=1,
    rate=200.0,
)

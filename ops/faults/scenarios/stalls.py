"""Workers that stand still and come back, when their partitions have long gone to others."""

from ops.faults.orders import Order
from ops.faults.scenario import Scenario, Size
from ops.faults.trial import SESSION_SECONDS, Trial
from ops.faults.worker_process import WorkerProcess

_POINTS = ("after-poll", "after-search", "before-begin", "after-first-produce", "after-send-offsets")
# What the broker needs to notice, and the others to take over.
_MARGIN_SECONDS = 4.0
_LOOK_SECONDS = 0.25
_FENCED_LOOKS = 80


def stop_past_session(trial: Trial) -> None:
    """SIGSTOP with a batch in hand, until the others have its partitions; then SIGCONT, and see it fenced."""
    trial.start_workers(trial.scenario.workers)
    fenced = 0
    for number in range(trial.size.faults):
        order = Order(_POINTS[number % len(_POINTS)], "stop")
        zombie, undone = _stopped(trial, order)
        trial.wait(SESSION_SECONDS + _MARGIN_SECONDS)
        fenced += _wakes_fenced(trial, zombie, undone)
    trial.notes.append(f"{fenced} of {trial.size.faults} fenced")


def _stopped(trial: Trial, order: Order) -> tuple[WorkerProcess, float]:
    """A worker that has stopped where it was told to, and how much it had undone before."""
    while True:
        zombie = trial.somebody_at_work()
        undone = zombie.undone
        if trial.order(zombie, order):
            return zombie, undone


def _wakes_fenced(trial: Trial, zombie: WorkerProcess, undone: float) -> bool:
    """Whether what it had in hand was undone, or it was ended for good."""
    pid = zombie.child.pid
    zombie.wake()
    for _ in range(_FENCED_LOOKS):
        trial.wait(_LOOK_SECONDS)
        if zombie.child.pid != pid or zombie.undone > undone:
            return True
    return False


ZOMBIE = Scenario(
    "zombie",
    "a worker with a batch in hand is stopped (SIGSTOP) past its session timeout, then goes on (SIGCONT)",
    stop_past_session,
    small=Size(faults=1, events=3_000),
    full=Size(faults=30, events=100_000),
)

"""Workers join and leave, under both of Kafka's group protocols."""

from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial, TrialError

_LEAVE_SECONDS = 15.0
_PROTOCOLS = ("classic", "consumer")


def join_and_leave(trial: Trial) -> None:
    """Half of it with each protocol: joins and leaves in turn, at random distances, and each leave with exit code 0."""
    trial.start_workers(trial.scenario.workers)
    for number in range(trial.size.faults):
        if number == trial.size.faults // 2:
            _change_protocol(trial)
        trial.wait(trial.chance.uniform(0.5, 3.0))
        if number % 2:
            _leave(trial)
        else:
            trial.add_worker()
            trial.until("the newcomer's work", lambda: trial.workers[-1].at_work)
        trial.faults += 1


def _leave(trial: Trial) -> None:
    """SIGTERM to one of those at work, and wait for its end."""
    leaver = trial.somebody_at_work()
    leaver.wanted = False
    leaver.child.terminate()
    trial.until("the leaver's end", lambda: not leaver.child.running, _LEAVE_SECONDS)
    if leaver.child.returncode != 0:
        raise TrialError(f"{leaver.name} left with code {leaver.child.returncode}.{leaver.child.log_tail()}")


def _change_protocol(trial: Trial) -> None:
    """All leave, and come back with the other protocol: a group changes it only while it is empty."""
    for worker in trial.workers:
        if worker.wanted:
            worker.wanted = False
            worker.child.terminate()
    trial.until("everybody's end", lambda: not any(worker.child.running for worker in trial.workers))
    trial.variables["MARQUEE_WORKER__GROUP_PROTOCOL"] = _PROTOCOLS[1]
    for _ in range(trial.scenario.workers):
        trial.add_worker()
    trial.progress()
    trial.notes.append("the first half classic cooperative, the second KIP-848")


REBALANCES = Scenario(
    "rebalances",
    "workers join and leave, with the classic cooperative protocol and with KIP-848",
    join_and_leave,
    small=Size(faults=4, events=3_000),
    full=Size(faults=200, events=200_000),
    workers=2,
)

"""Workers join and leave, under both of Kafka's group protocols."""

from tests.faults.budget import Wait, may
from tests.faults.scenario import BOTH, Scenario, Size
from tests.faults.scenarios.waits import TAKE_OVER
from tests.faults.trial import Trial, TrialError
from worker.stream.loop import REVOKE_SECONDS

_LEAVE_SECONDS = 90.0
REVOKE = Wait(REVOKE_SECONDS, "for a worker to finish what it has polled of partitions that are revoked")


def join_and_leave(trial: Trial) -> None:
    """Joins and leaves in turn, at random distances, and each leave with exit code 0."""
    for numbers in trial.by_protocol():
        for number in numbers:
            trial.wait(trial.chance.uniform(0.5, 3.0))
            if number % 2:
                leave(trial)
            else:
                newcomer = trial.add_worker()
                trial.until("the newcomer's work", lambda newcomer=newcomer: newcomer.at_work)  # type: ignore[misc]
            trial.injected["leave" if number % 2 else "join"] += 1


def leave(trial: Trial) -> None:
    """SIGTERM to one of those at work, and wait for its end."""
    leaver = trial.somebody_at_work()
    leaver.dismiss()
    trial.until("the leaver's end", lambda: not leaver.child.running, _LEAVE_SECONDS)
    if leaver.child.returncode != 0:
        raise TrialError(f"{leaver.name} left with code {leaver.child.returncode}.{leaver.child.log_tail()}")


REBALANCES = Scenario(
    "rebalances",
    "workers join and leave, with the classic cooperative protocol and with KIP-848",
    join_and_leave,
    small=Size(faults=4, events=3_000),
    full=Size(faults=100, events=100_000),
    budget=may(REVOKE, TAKE_OVER),
    rate=200.0,
    protocols=BOTH,
    workers=2,
)

"""Workers join and leave, under both of Kafka's group protocols."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.processes import WorkerProcess
from tests.faults.proxy import END_TXN, INIT_PRODUCER_ID, KafkaProxy
from tests.faults.saboteur import Order
from tests.faults.scenario import BOTH, Scenario, Size, Wait, may
from tests.faults.scenarios.waits import (
    ONE_CALL,
    PRODUCER_START,
    SESSION,
    TAKE_OVER,
)
from tests.faults.trial import Trial, TrialError
from worker.kafka.admin import TOLD_SECONDS
from worker.stream.changes import REVOKE_SECONDS

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


class Outcome(NamedTuple):
    """The withheld response: of a commit or an abort, with or without the request at the broker."""

    call: str
    landed: bool

    @property
    def words(self) -> str:
        return f"{self.call} that {'had' if self.landed else 'had not'} landed"


OUTCOMES = [Outcome(call, landed) for call in ("commit", "abort") for landed in (True, False)]


def withhold_outcomes(trial: Trial) -> None:
    """Each kind as often as the others, in random order, from all workers at once."""
    outcomes = OUTCOMES * (trial.size.faults // len(OUTCOMES))
    trial.chance.shuffle(outcomes)
    withhold(trial, outcomes)


def withhold(trial: Trial, outcomes: Sequence[Outcome]) -> None:
    """Withhold outcomes, one from each worker at a time, until all have given up waiting; then see them go on."""
    proxy = trial.kafka_proxy
    trial.start_workers(trial.scenario.workers)
    trial.quiet()
    left = list(outcomes)
    while left:
        trial.wait(trial.chance.uniform(0.5, 2.0))
        chosen = trial.wanted[: len(left)]
        waiting = [(worker, _withhold(trial, proxy, worker, left.pop())) for worker in chosen]
        trial.until("the end of the wait", lambda: all([_given_up(trial, proxy, *each) for each in waiting]))  # noqa: B023, C419
        trial.progress()


def _given_up(trial: Trial, proxy: KafkaProxy, worker: WorkerProcess, goal: float) -> bool:
    """Whether the worker has stopped waiting for its outcome; from then on nothing more is withheld from it."""
    if worker.undone < goal:
        return False
    proxy.release(trial.settings.names.worker_transactional_id(worker.name))
    return True


def _withhold(trial: Trial, proxy: KafkaProxy, worker: WorkerProcess, outcome: Outcome) -> float:
    """How many transactions the worker will have undone when it has given up waiting.

    A commit comes by itself; for an abort, the open transaction is made to fail, and a new producer is to abort it.
    """
    own_id = trial.settings.names.worker_transactional_id(worker.name)
    trial.until("the worker's work", lambda: worker.at_work)
    if outcome.call == "commit":
        undone = worker.undone
        proxy.withhold(END_TXN, own_id, landed=outcome.landed)
        trial.injected[outcome.words] += 1
        return undone + 1
    while True:
        undone = worker.undone
        proxy.withhold(INIT_PRODUCER_ID, own_id, landed=outcome.landed)
        if trial.order(worker, Order("after-send-offsets", "fail"), outcome.words):
            return undone + 2
        # A new producer came before it, after a rebalance for one: it must not wait, and the next try is for one at work.
        proxy.release(own_id)
        answered = worker.answered
        trial.until("the worker's next", lambda answered=answered: worker.answered != answered)  # type: ignore[misc]


UNKNOWN_OUTCOME = Scenario(
    "unknown-outcome",
    "the broker's answer to a commit or an abort is withheld until the timeout; it had landed, or had not",
    withhold_outcomes,
    small=Size(faults=4, events=3_000),
    full=Size(faults=200, events=50_000),
    budget=may(
        ONE_CALL,
        PRODUCER_START * 2,
        SESSION,
        TAKE_OVER,
        why="The outcome is waited for, and that of the abort, which is asked for once more; a worker that ends meanwhile is waited "
        "for by its group.",
    ),
    workers=8,
    rate=200.0,
)

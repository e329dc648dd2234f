"""Commits and aborts whose outcome the worker cannot know: the broker's answer is withheld until the call times out."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.budget import may
from tests.faults.orders import Order
from tests.faults.proxy import END_TXN, INIT_PRODUCER_ID, KafkaProxy
from tests.faults.scenario import Scenario, Size
from tests.faults.scenarios.waits import (
    ONE_CALL,
    PRODUCER_START,
    SESSION,
    TAKE_OVER,
)
from tests.faults.trial import Trial
from tests.faults.worker_process import WorkerProcess


class Outcome(NamedTuple):
    """What is withheld: of a commit or of an abort, and whether the request had reached the broker."""

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

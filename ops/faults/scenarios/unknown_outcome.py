"""Commits and aborts whose outcome the worker cannot know: the broker's answer is withheld until the call times out."""

from collections.abc import Sequence
from typing import NamedTuple

from ops.faults.orders import Order
from ops.faults.proxy import END_TXN, INIT_PRODUCER_ID, OutcomeProxy
from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial
from ops.faults.worker_process import WorkerProcess


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
    left = list(outcomes)
    while left:
        trial.wait(trial.chance.uniform(0.5, 2.0))
        waiting = []
        for worker in trial.wanted[: len(left)]:
            outcome = left.pop()
            goal = worker.undone + (1 if outcome.call == "commit" else 2)
            _withhold(trial, proxy, worker, outcome)
            waiting.append((worker, goal))
        trial.until("the end of the wait", lambda: all(worker.undone >= goal for worker, goal in waiting))  # noqa: B023
        for worker, _ in waiting:
            proxy.release(trial.settings.names.worker_transactional_id(worker.name))
        trial.progress()


def _withhold(trial: Trial, proxy: OutcomeProxy, worker: WorkerProcess, outcome: Outcome) -> None:
    """A commit comes by itself; for an abort, the open transaction fails, and a new producer is to abort it."""
    trial.until("the worker's work", lambda: worker.at_work)
    own_id = trial.settings.names.worker_transactional_id(worker.name)
    api = END_TXN if outcome.call == "commit" else INIT_PRODUCER_ID
    proxy.withhold(api, own_id, landed=outcome.landed)
    if outcome.call == "abort":
        order = Order("after-send-offsets", "fail")
        trial.until("the failure", lambda: trial.order(worker, order, outcome.words))
    else:
        trial.injected[outcome.words] += 1


UNKNOWN_OUTCOME = Scenario(
    "unknown-outcome",
    "the broker's answer to a commit or an abort is withheld until the timeout; it had landed, or had not",
    withhold_outcomes,
    small=Size(faults=4, events=3_000),
    full=Size(faults=200, events=50_000),
    workers=8,
    rate=200.0,
)

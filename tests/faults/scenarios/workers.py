"""kill -9 of workers: at random moments, and at named points of the commit path."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.processes import WorkerProcess
from tests.faults.saboteur import POINTS as ALL_POINTS
from tests.faults.saboteur import Order
from tests.faults.scenario import BOTH, Scenario, Size, Wait, may
from tests.faults.scenarios.waits import SESSION, TAKE_OVER
from tests.faults.trial import SESSION_SECONDS, Trial

_LONGEST_PAUSE_S = 2.0
# Kills before every partition must progress: a group whose members die faster than it notices never rebalances.
_LONGEST_ROW = 6
# `before-begin` is for zombies: for a kill it is the same as after the search.
_POINTS = [point for point in ALL_POINTS if point != "before-begin"]


def kill_at_random(trial: Trial) -> None:
    """Kill random working workers at random intervals, several times before every partition must progress."""
    for numbers in trial.by_protocol():
        left = len(numbers)
        while left:
            row = min(left, trial.chance.randint(1, _LONGEST_ROW))
            for _ in range(row):
                trial.wait(trial.chance.uniform(0.0, _LONGEST_PAUSE_S))
                trial.somebody_at_work().child.kill()
                trial.injected["kill -9"] += 1
            trial.progress()
            left -= row


def kill_at_points(trial: Trial) -> None:
    """Kill at each point as often as at the others, in random order."""
    points = _POINTS * (trial.size.faults // len(_POINTS))
    trial.chance.shuffle(points)
    for numbers in trial.by_protocol():
        for number in numbers:
            while not trial.order(trial.somebody_at_work(), Order(points[number], "kill")):
                pass


KILL9 = Scenario(
    "kill9",
    "kill -9 of workers at random while under load",
    kill_at_random,
    small=Size(faults=6, events=5_000),
    full=Size(faults=200, events=1_000_000),
    budget=may(
        Wait(_LONGEST_PAUSE_S, "pause before a kill") * _LONGEST_ROW,
        SESSION * _LONGEST_ROW,
        TAKE_OVER * _LONGEST_ROW,
        why=f"Up to {_LONGEST_ROW} kills follow each other before every partition must have moved on, and each may hit the worker "
        "that has just got the partition.",
    ),
    protocols=BOTH,
    rate=800.0,
)
_POINTS_WORKERS = 4
POINTS = Scenario(
    "points",
    "kill -9 of workers at named points, from after the poll to after the commit",
    kill_at_points,
    small=Size(faults=len(_POINTS), events=5_000),
    full=Size(faults=25 * len(_POINTS), events=100_000),
    budget=may(
        SESSION * _POINTS_WORKERS,
        TAKE_OVER * _POINTS_WORKERS,
        why="Each worker may be killed once, one after another, just after it has got the partition; one that was started again is "
        "not killed before it has committed something.",
    ),
    workers=_POINTS_WORKERS,
    rate=200.0,
    protocols=BOTH,
)


# For the broker to notice, and for the others to take over.
_MARGIN_SECONDS = 4.0
_LOOK_SECONDS = 0.25
_LOOKS = 80
# The share of the workers stopped at once: one of three, four of eight.
_SHARE = 2

_STOPS = ("after-poll", "after-search", "before-begin", "after-first-produce", "after-send-offsets")
# A session of KIP-848 is the broker's, and shorter here than it takes to expire a transaction.
_IN_TRANSACTION = ("after-first-produce", "after-send-offsets")
# Before the offsets are in the transaction: with them in, its commit is as good as any while it has not expired.
_STALLS = ("after-poll", "after-search", "before-begin", "after-first-produce")
_POLL_INTERVAL = "MARQUEE_WORKER__MAX_POLL_INTERVAL_MS"


class Held(NamedTuple):
    """A stopped worker with a batch in flight: its process, and its aborts and lost assignments before."""

    worker: WorkerProcess
    pid: int | None
    losses: int

    @property
    def fenced(self) -> bool:
        """Whether its batch was aborted, or its process ended."""
        return self.worker.child.pid != self.pid or self.worker.losses > self.losses


def stop_past_session(trial: Trial) -> None:
    """At each point in turn: stopped, its partitions taken over by others, woken, and seen to be fenced."""
    fenced = 0
    for numbers in trial.by_protocol():
        for some in _rounds(trial, numbers):
            fenced += stop_at(trial, [_STOPS[number % len(_STOPS)] for number in some])
    _account(trial, "fenced", fenced, trial.size.faults)


def stop_at(trial: Trial, points: Sequence[str]) -> int:
    """SIGSTOP with batches in flight until others own the partitions; then SIGCONT. The number of fenced workers."""
    zombies = [_hold(trial, Order(point, "stop")) for point in points]
    opened = any(point in _IN_TRANSACTION for point in points)
    trial.wait(max(trial.session_seconds, SESSION_SECONDS * opened) + _MARGIN_SECONDS)
    trial.progress()
    for zombie in zombies:
        zombie.worker.wake()
    return _fenced(trial, zombies)


def stall_past_poll_interval(trial: Trial) -> None:
    """Batches that take too long: with the polling held up, each is aborted; with the polling going on, it costs nothing."""
    aborted = kept = 0
    for numbers in trial.by_protocol():
        middle = len(numbers) // 2
        for some in _rounds(trial, numbers[:middle]):
            aborted += stall_at(trial, [_STALLS[number % len(_STALLS)] for number in some])
        trial.quiet()
        for some in _rounds(trial, numbers[middle:]):
            kept += stall_behind_polling(trial, len(some))
    faults = trial.size.faults
    _account(trial, "aborted, the polling being held up", aborted, faults // 2)
    _account(trial, "kept their partitions, the polling going on", kept, faults - faults // 2)


def stall_at(trial: Trial, points: Sequence[str]) -> int:
    """Delay the batch and the polling; the number of workers that lost their partitions and aborted."""
    seconds = _too_long(trial)
    sleepers = [_hold(trial, Order(point, "stall", seconds), f"polling held up {point}") for point in points]
    trial.wait(seconds)
    trial.progress()
    aborted = _fenced(trial, sleepers)
    for sleeper in sleepers:
        sleeper.worker.held = False
    return aborted


def stall_behind_polling(trial: Trial, count: int) -> int:
    """Delay batches as long without the polling; the number of workers that kept their partitions."""
    seconds = _too_long(trial)
    sleepers = [
        _hold(trial, Order("after-search", "sleep", seconds), "polling went on") for _ in range(count)
    ]
    trial.wait(seconds + _MARGIN_SECONDS)
    trial.progress()
    for sleeper in sleepers:
        sleeper.worker.held = False
    return sum(not sleeper.fenced for sleeper in sleepers)


def _too_long(trial: Trial) -> float:
    """Longer than a poll may stay away, in seconds."""
    return int(trial.variables[_POLL_INTERVAL]) / 1_000 + _MARGIN_SECONDS


def _rounds(trial: Trial, numbers: range) -> list[range]:
    """The faults in groups of those that happen at once, so that enough workers are left to go on."""
    size = max(1, trial.scenario.workers // _SHARE)
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _hold(trial: Trial, order: Order, named: str = "") -> Held:
    """A worker stopped or delayed by an order."""
    while True:
        worker = trial.somebody_at_work()
        held = Held(worker, worker.child.pid, worker.losses)
        if trial.order(worker, order, named):
            worker.held = True
            return held


def _fenced(trial: Trial, held: Sequence[Held]) -> int:
    for _ in range(_LOOKS):
        if all(each.fenced for each in held):
            break
        trial.wait(_LOOK_SECONDS)
    return sum(each.fenced for each in held)


def _account(trial: Trial, what: str, count: int, of: int) -> None:
    trial.notes.append(f"{what}: {count} of {of}")
    if count != of:
        trial.unexpected.append(f"{what}: only {count} of {of}")


_WORKERS = 8
ZOMBIE = Scenario(
    "zombie",
    "workers with a batch in hand are stopped (SIGSTOP) past their session timeout, then go on (SIGCONT); each is fenced",
    stop_past_session,
    small=Size(faults=2, events=3_000),
    full=Size(faults=30, events=50_000),
    budget=may(
        SESSION * (_WORKERS // _SHARE),
        TAKE_OVER * (_WORKERS // _SHARE),
        why=f"{_WORKERS // _SHARE} workers are stopped one after another, and each may have just got the partition of the one before.",
    ),
    protocols=BOTH,
    workers=_WORKERS,
    rate=200.0,
)
SLOW_BATCH = Scenario(
    "slow-batch",
    "a batch takes longer than max.poll.interval.ms: half of them hold up the polling and are aborted, half cost nothing",
    stall_past_poll_interval,
    small=Size(faults=2, events=3_000),
    full=Size(faults=40, events=50_000),
    budget=may(
        Wait(SESSION_SECONDS + _MARGIN_SECONDS, "with the polling held up, 4 s past max.poll.interval.ms"),
        SESSION,
        TAKE_OVER,
        why="A worker that was fenced ends, and the group waits for its old member.",
    ),
    workers=_WORKERS,
    rate=200.0,
    # librdkafka takes none below the session timeout of a classic group.
    variables={_POLL_INTERVAL: str(SESSION_SECONDS * 1_000)},
)

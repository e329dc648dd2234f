"""kill -9 of workers: at random moments, and at named points of the commit path."""

from tests.faults.budget import Wait, may
from tests.faults.orders import POINTS as ALL_POINTS
from tests.faults.orders import Order
from tests.faults.scenario import BOTH, Scenario, Size
from tests.faults.scenarios.waits import SESSION, TAKE_OVER
from tests.faults.trial import Trial

_LONGEST_PAUSE_S = 2.0
# In a row, before every partition must have moved on: a group whose members die faster than it notices deals nothing anew.
_LONGEST_ROW = 6
# `before-begin` is for zombies: for a kill it is the same as after the search.
_POINTS = [point for point in ALL_POINTS if point != "before-begin"]


def kill_at_random(trial: Trial) -> None:
    """Kill whoever is at work, after a random while; and again, some times in a row, until all goes on once more."""
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

"""kill -9 of workers: at random moments, and at named points of the commit path."""

from ops.faults.orders import POINTS as ALL_POINTS
from ops.faults.orders import Order
from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial

_LONGEST_PAUSE_S = 2.0
# `before-begin` is for zombies: for a kill it is the same as after the search.
_POINTS = [point for point in ALL_POINTS if point != "before-begin"]


def kill_at_random(trial: Trial) -> None:
    """Kill whoever is at work, after a random while."""
    trial.start_workers(trial.scenario.workers)
    for _ in range(trial.size.faults):
        trial.wait(trial.chance.uniform(0.0, _LONGEST_PAUSE_S))
        trial.somebody_at_work().child.kill()
        trial.faults += 1


def kill_at_points(trial: Trial) -> None:
    """Kill at each point as often as at the others, in random order."""
    trial.start_workers(trial.scenario.workers)
    rounds = trial.size.faults // len(_POINTS)
    points = _POINTS * rounds
    trial.chance.shuffle(points)
    for point in points:
        while not trial.order(trial.somebody_at_work(), Order(point, "kill")):
            pass
    trial.notes.append(f"{rounds} at each of {', '.join(_POINTS)}")


KILL9 = Scenario(
    "kill9",
    "kill -9 of workers at random while under load",
    kill_at_random,
    small=Size(faults=6, events=5_000),
    full=Size(faults=200, events=1_000_000),
)
POINTS = Scenario(
    "points",
    "kill -9 of workers at named points, from after the poll to after the commit",
    kill_at_points,
    small=Size(faults=len(_POINTS), events=5_000),
    full=Size(faults=25 * len(_POINTS), events=200_000),
)

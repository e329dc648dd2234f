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
# librdkafka takes no poll interval below the session timeout.
SLOW_POLL_SECONDS = SESSION_SECONDS
_LOST = " lost "


def stop_past_session(trial: Trial) -> None:
    """At each point in turn: stopped, its partitions taken over by others, woken, and seen to be fenced."""
    trial.start_workers(trial.scenario.workers)
    fenced = sum(stop_at(trial, _POINTS[number % len(_POINTS)]) for number in range(trial.size.faults))
    trial.notes.append(f"{fenced} of {trial.size.faults} fenced")


def stop_at(trial: Trial, point: str) -> bool:
    """SIGSTOP with a batch in hand, until the others have its partitions; then SIGCONT. Whether it was fenced."""
    zombie, undone = _stopped(trial, Order(point, "stop"))
    trial.wait(trial.session_seconds + _MARGIN_SECONDS)
    trial.progress()
    return _wakes_fenced(trial, zombie, undone)


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


def sleep_past_poll_interval(trial: Trial) -> None:
    """In turn the thread that polls is held up, and loses its partitions; and the one that publishes, which costs nothing."""
    trial.start_workers(trial.scenario.workers)
    lost = 0
    for number in range(trial.size.faults):
        sleeper = trial.somebody_at_work()
        before = sleeper.log.count(_LOST)
        seconds = SLOW_POLL_SECONDS + _MARGIN_SECONDS
        point = "before-begin" if number % 2 else "after-poll"
        while not trial.order(sleeper, Order(point, "sleep", seconds)):
            sleeper = trial.somebody_at_work()
            before = sleeper.log.count(_LOST)
        trial.wait(seconds + _MARGIN_SECONDS)
        trial.progress()
        lost += sleeper.log.count(_LOST) > before
    trial.notes.append(
        f"partitions lost {lost} times; half of the sleepers held up the poll, half the publishing"
    )


SLOW_BATCH = Scenario(
    "slow-batch",
    "a batch takes longer than max.poll.interval.ms, in the polling thread or behind it",
    sleep_past_poll_interval,
    small=Size(faults=2, events=3_000),
    full=Size(faults=40, events=100_000),
    variables={"MARQUEE_WORKER__MAX_POLL_INTERVAL_MS": str(SLOW_POLL_SECONDS * 1_000)},
)

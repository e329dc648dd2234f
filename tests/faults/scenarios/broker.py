"""The one broker is killed and restarted, at once or after minutes, is stopped for seconds, or runs out of disk."""

import os
import signal
import sys

from tests.faults.scenario import Scenario, Size, Wait, may
from tests.faults.scenarios.waits import (
    BROKER_LOAD,
    BROKER_SESSION,
    CONSUMER_SESSION,
    ONE_CALL,
    PRODUCER_START,
    SESSION,
    TAKE_OVER,
    WORKER_START,
)
from tests.faults.trial import Trial

_STARTS = 5
_MINUTES = (120.0, 180.0)
_PAUSE_SECONDS = (0.5, 3.0)
# Below the 9 s after which it would put itself out of office.
_STANDSTILL_SECONDS = (1.0, 6.0)


def kill_broker(trial: Trial) -> None:
    """kill -9, a while without a broker, and back; then work before the next time."""
    trial.start_workers(trial.scenario.workers)
    for _ in range(trial.size.faults):
        trial.wait(trial.chance.uniform(0.5, 3.0))
        trial.servers.kafka.kill()
        trial.injected["kill -9"] += 1
        trial.wait(trial.chance.uniform(*_PAUSE_SECONDS))
        _bring_back(trial)


def _bring_back(trial: Trial) -> None:
    """Start the broker, and see work done; where it comes back without the workers' group, which no worker can mend, again."""
    kafka = trial.servers.kafka
    kafka.restart()
    for _ in range(_STARTS - 1):
        if trial.progress(hopeless=kafka.has_lost_groups):
            return
        trial.notes.append("Kafka came back without its groups, and was started once more")
        kafka.restart()  # a broker that ends by SIGTERM leaves no session, and loads its partitions only once
    trial.progress()


def stop_broker(trial: Trial) -> None:
    """SIGSTOP for seconds, and SIGCONT; then work before the next time. It must not lose its office by that."""
    trial.start_workers(trial.scenario.workers)
    broker = trial.servers.kafka.process(1)
    for _ in range(trial.size.faults):
        trial.wait(trial.chance.uniform(0.5, 3.0))
        broker.send_signal(signal.SIGSTOP)
        trial.injected["SIGSTOP"] += 1
        trial.wait(trial.chance.uniform(*_STANDSTILL_SECONDS))
        broker.send_signal(signal.SIGCONT)
        trial.progress()


def keep_broker_away(trial: Trial) -> None:
    """kill -9, and back only when every worker has said at /health/ready that Kafka is away; then all go on by themselves."""
    trial.start_workers(trial.scenario.workers)
    processes = [worker.child.pid for worker in trial.wanted]
    for _ in range(trial.size.faults):
        trial.servers.kafka.kill()
        trial.injected["kill -9, and away"] += 1
        trial.until("everybody's word that Kafka is away", lambda: _say(trial, away=True))
        # Minutes are for the full run.
        if trial.size == trial.scenario.full:
            trial.wait(trial.chance.uniform(*_MINUTES))
        if not _say(trial, away=True):
            trial.unexpected.append("not everybody said for as long that Kafka is away")
        _bring_back(trial)
        trial.until("everybody's readiness", lambda: _say(trial, away=False))
    if processes != [worker.child.pid for worker in trial.wanted]:
        trial.unexpected.append("a worker did not go on by itself")


def _say(trial: Trial, *, away: bool) -> bool:
    """Whether all workers report that Kafka is away, or report no problem."""
    said = [worker.problems for worker in trial.wanted]
    return all(problems is not None and ("kafka" in problems if away else not problems) for problems in said)


BROKER = Scenario(
    "broker",
    "kill -9 and restart of the broker, one node",
    kill_broker,
    small=Size(faults=2, events=3_000),
    full=Size(faults=20, events=50_000),
    budget=may(
        Wait(_PAUSE_SECONDS[1], "without a broker"),
        BROKER_SESSION,
        BROKER_LOAD,
        WORKER_START,
        SESSION,
        TAKE_OVER,
        why="A worker that Kafka ended meanwhile is started again, and the group waits for its old member. Where Kafka came back "
        "without its groups, which the notes say, it was started once more: all of this once more.",
    ),
    workers=2,
    rate=300.0,
)
BROKER_STOPPED = Scenario(
    "broker-stopped",
    "the one broker stands still for seconds (SIGSTOP), as on a machine that is too busy",
    stop_broker,
    small=Size(faults=2, events=3_000),
    full=Size(faults=20, events=50_000),
    budget=may(
        Wait(_STANDSTILL_SECONDS[1], "standstill of the broker"),
        ONE_CALL,
        CONSUMER_SESSION,
        TAKE_OVER,
        why="The call under way times out, and members that were silent meanwhile may have to join anew.",
    ),
    protocols=("consumer",),
    workers=3,
    rate=200.0,
)
BROKER_AWAY = Scenario(
    "broker-away",
    "the one broker is away for minutes; the workers say so at /health/ready, and go on by themselves",
    keep_broker_away,
    small=Size(faults=1, events=3_000),
    full=Size(faults=4, events=50_000),
    budget=may(
        Wait(ONE_CALL.seconds + PRODUCER_START.seconds, "until every worker says that Kafka is away"),
        Wait(_MINUTES[1], "without a broker"),
        BROKER_SESSION,
        BROKER_LOAD,
        SESSION,
        TAKE_OVER,
    ),
    workers=2,
    rate=100.0,
)


DISK_MB = 512
_BLOCK = b"\0" * 2**20


def disk_obstacle() -> str | None:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root may mount the small tmpfs that it takes"
    return None


def fill_disk(trial: Trial) -> None:
    """Fill the disk, wait for the broker's end, free it, restart the broker."""
    trial.start_workers(trial.scenario.workers)
    kafka = trial.servers.kafka
    ballast = kafka.nodes[0].data / "ballast"
    for _ in range(trial.size.faults):
        with ballast.open("wb", buffering=0) as file:
            while kafka.processes[0].running:
                _write(file.fileno())
                trial.wait(0.1)
        trial.injected["disk full"] += 1
        ballast.unlink()
        kafka.restart()
        trial.progress()


def _write(file: int) -> None:
    """Write until the disk is full, into space that the broker frees, too."""
    try:
        while os.write(file, _BLOCK):
            pass
    except OSError:  # no space left
        return


DISK_FULL = Scenario(
    "disk-full",
    "the broker's disk (a small tmpfs) is full; the broker ends, room is made, and it is started again",
    fill_disk,
    small=Size(faults=1, events=3_000),
    full=Size(faults=10, events=50_000),
    budget=may(
        BROKER_SESSION,
        BROKER_LOAD,
        WORKER_START,
        SESSION,
        TAKE_OVER,
        why="From the broker's end on: room is made at once, and the broker started again.",
    ),
    workers=2,
    rate=300.0,
    disk_mb=DISK_MB,
    obstacle=disk_obstacle,
)

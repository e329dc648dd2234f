"""The broker's disk is full: it ends, room is made, and it is started again."""

import os
import sys

from tests.faults.budget import may
from tests.faults.scenario import Scenario, Size
from tests.faults.scenarios.waits import (
    BROKER_LOAD,
    BROKER_SESSION,
    SESSION,
    TAKE_OVER,
    WORKER_START,
)
from tests.faults.trial import Trial

DISK_MB = 512
_BLOCK = b"\0" * 2**20


def obstacle() -> str | None:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root may mount the small tmpfs that it takes"
    return None


def fill_disk(trial: Trial) -> None:
    """Fill what is left of the disk, wait for the broker's end, make room, start it again."""
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
    """As much as fits: what the broker's own cleaning frees, too."""
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
    obstacle=obstacle,
)

"""Milvus' limit, measured in a process of its own (`tests.bench.ceiling`)."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.local.process import ChildProcess
from tests.bench.deployment import Deployment

_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Ceiling:
    """Searches in flight, and what they reached; the CPU is the client's share of a search, per event."""

    events: int
    concurrency: int
    events_per_second: float
    cpu_us_per_event: float


@dataclass(frozen=True)
class Limits:
    """Every concurrency that was tried, and what embedding costs alone."""

    ceilings: list[Ceiling]
    embed_us_per_event: float

    @property
    def best(self) -> Ceiling:
        return max(self.ceilings, key=lambda each: each.events_per_second)


def measure_limits(deployment: Deployment, events: int, seconds: float, folder: Path) -> Limits:
    """Search with batches of so many events, for so many seconds at each concurrency.

    Raises:
        LocalError: the process failed.
    """
    command = [sys.executable, "-m", "tests.bench.ceiling", deployment.release, deployment.collection]
    child = ChildProcess(
        "ceiling",
        [*command, str(seconds), str(events)],
        log=folder / "ceiling.log",
        environment=deployment.environment,
    )
    child.start()
    try:
        child.finish(_TIMEOUT_SECONDS)
    finally:
        child.kill()
    said = json.loads(child.log.read_text().splitlines()[-1])
    return Limits([Ceiling(**each) for each in said["ceilings"]], said["embed_us_per_event"])

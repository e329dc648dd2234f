"""Workers whose clock is an hour off, either way."""

import os
import subprocess
import sys
from pathlib import Path

from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial

_ALL_SECONDS = 1_800.0
_PROBE_SECONDS = 15.0
_OFFSETS = ("+1h", "-1h")


def library() -> Path | None:
    """libfaketime as Debian installs it, under the machine's own library folder."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def obstacle() -> str | None:
    if sys.platform != "linux" or library() is None:
        return "libfaketime is not installed (Debian: apt-get install libfaketime)"
    if not all(_waits(offset) for offset in _OFFSETS):
        return "under this libfaketime a wait of the Kafka client never ends, which no wrong clock does"
    return None


def _waits(offset: str) -> bool:
    """Whether a wait of librdkafka ends under a faked clock: some versions of libfaketime miscalculate its deadline."""
    wait = "from confluent_kafka import Consumer; Consumer({'group.id': 'clock', 'log_level': 0}).poll(0.1)"
    try:
        subprocess.run(
            [sys.executable, "-c", wait], env=os.environ | _clock(offset), timeout=_PROBE_SECONDS, check=True
        )
    except subprocess.SubprocessError:
        return False
    return True


def _clock(offset: str) -> dict[str, str]:
    """The variables that give a process another clock; what takes monotonic time keeps it."""
    return {"LD_PRELOAD": str(library()), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def set_clocks(trial: Trial) -> None:
    """One worker an hour ahead, one an hour behind."""
    for offset in _OFFSETS:
        trial.add_worker(**_clock(offset))
        trial.injected[f"clock {offset}"] += 1
    trial.start_workers(0)
    trial.until("all results", lambda: len(trial.reader.outcomes) >= trial.size.events, _ALL_SECONDS)


CLOCK = Scenario(
    "clock",
    "two workers, one's clock an hour ahead, the other's an hour behind (libfaketime)",
    set_clocks,
    small=Size(faults=2, events=3_000),
    full=Size(faults=2, events=100_000),
    obstacle=obstacle,
)

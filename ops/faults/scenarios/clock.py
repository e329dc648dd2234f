"""Workers whose clock is an hour off, either way."""

import sys
from pathlib import Path

from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial

_ALL_SECONDS = 1_800.0
_OFFSETS = ("+1h", "-1h")


def library() -> Path | None:
    """libfaketime as Debian installs it, under the machine's own library folder."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def obstacle() -> str | None:
    if sys.platform != "linux" or library() is None:
        return "libfaketime is not installed (Debian: apt-get install libfaketime)"
    return None


def set_clocks(trial: Trial) -> None:
    """One worker an hour ahead, one an hour behind; what takes monotonic time keeps it."""
    for offset in _OFFSETS:
        trial.add_worker(LD_PRELOAD=str(library()), FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1")
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

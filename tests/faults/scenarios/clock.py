"""Workers whose clock is an hour off, either way."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.scenario import Scenario, Size, may
from tests.faults.scenarios.waits import ONE_CALL
from tests.faults.trial import Trial

_ALL_SECONDS = 1_800.0
_PROBE_SECONDS = 15.0
_SOURCE = Path(__file__).parent.parent / "clock.c"
HOUR_SECONDS = 3_600
_SHIFTS = {"+1 h": HOUR_SECONDS, "-1 h": -HOUR_SECONDS}


def wrong_clock(folder: Path, shift_s: int) -> dict[str, str]:
    """The variables that give a process another wall clock; monotonic clocks stay.

    Raises:
        subprocess.CalledProcessError: the C compiler fails.
    """
    library = folder / "clock.so"
    if not library.is_file():
        built = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(built, check=True, capture_output=True)
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": str(shift_s)}


def clock_obstacle() -> str | None:
    if sys.platform != "linux" or shutil.which("cc") is None:
        return "it takes Linux and a C compiler (Debian: apt-get install gcc libc6-dev)"
    with tempfile.TemporaryDirectory() as folder:
        try:
            ends = all(_waits_end(wrong_clock(Path(folder), shift)) for shift in _SHIFTS.values())
        except subprocess.CalledProcessError as error:
            return f"the C compiler does not take {_SOURCE.name}: {error.stderr.decode(errors='replace')}"
    return None if ends else "a wait of the Kafka client does not heed the shifted clock here"


def _waits_end(clock: dict[str, str]) -> bool:
    """Whether librdkafka, as it was built for this machine, waits by a function whose deadline is shifted back."""
    wait = "from confluent_kafka import Consumer; Consumer({'group.id': 'clock', 'log_level': 0}).poll(0.1)"
    try:
        subprocess.run(
            [sys.executable, "-c", wait], env=os.environ | clock, timeout=_PROBE_SECONDS, check=True
        )
    except subprocess.SubprocessError:
        return False
    return True


def set_clocks(trial: Trial) -> None:
    """One worker an hour ahead, one an hour behind."""
    for words, shift in _SHIFTS.items():
        trial.add_worker(**wrong_clock(trial.folder, shift))
        trial.injected[f"clock {words}"] += 1
    trial.start_workers(0)
    trial.quiet()  # the second worker's join may abort batches of the first
    before = _undone(trial)
    trial.until("all results", lambda: len(trial.reader.outcomes) >= trial.size.events, _ALL_SECONDS)
    undone = _undone(trial) - before
    trial.notes.append(f"{undone:.0f} transactions undone")
    if undone:
        trial.unexpected.append(f"{undone:.0f} transactions were undone")


def _undone(trial: Trial) -> float:
    return sum(worker.undone for worker in trial.wanted)


CLOCK = Scenario(
    "clock",
    "two workers, one's clock an hour ahead, the other's an hour behind (a preloaded library of the suite's own)",
    set_clocks,
    small=Size(faults=2, events=3_000),
    full=Size(faults=2, events=100_000),
    budget=may(ONE_CALL * 2, why="Nothing stops: only calls to the brokers take their time."),
    obstacle=clock_obstacle,
)

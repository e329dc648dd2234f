"""Where the worker's CPU goes at full load: of its threads by the kernel's count, of its functions as py-spy sees them.

Functions are sampled while they hold the interpreter's lock: a waiting thread holds none, and work in a library
without the lock (a matrix product, a search) is the thread's CPU less its functions'.
"""

import json
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from schemas.errors import MarqueeError
from tests.bench.contenders import MARQUEE
from tests.bench.deployment import Deployment
from tests.bench.measurement import start, stop
from tests.bench.workload import Draft, endless

_HERTZ = 200
# For its start, and for the first results, which meet cold caches.
_WARM_SECONDS = 3.0
_READY_SECONDS = 60.0
_SPARE_SECONDS = 6.0
_IDLE_SECONDS = 30.0


@dataclass(frozen=True)
class Cost:
    """A function, and the share of the samples in which it was at work itself, and in which it or a callee was."""

    function: str
    own: float
    with_callees: float


@dataclass(frozen=True)
class Profile:
    """CPU microseconds an event by thread, the dearest first, and the functions that hold the interpreter's lock.

    `locked` is the share of the time in which anything of the worker held it.
    """

    events_per_second: float
    threads: dict[str, float]
    locked: float
    functions: list[Cost]


def profile(
    deployment: Deployment, pool: Sequence[Draft], expected: float, seconds: float, folder: Path
) -> Profile:
    """Sample one worker at full load for so long; `expected` events/s set the size of the backlog.

    Raises:
        MarqueeError: py-spy is not there, or may not look at the worker.
    """
    events = int(expected * (_WARM_SECONDS + seconds + _SPARE_SECONDS))

    def done() -> int:
        return sum(deployment.ends(deployment.settings.names.recommendations).values())

    before = done()
    children = start(MARQUEE, deployment, deployment.publish(endless(pool), events), folder)
    worker = children[0]
    assert worker.pid is not None  # it was started
    try:
        worker.wait_until(lambda: done() > before, _READY_SECONDS)
        time.sleep(_WARM_SECONDS)
        names = _thread_names(worker.pid)
        began, answered, cpu = time.monotonic(), done(), _thread_seconds(worker.pid, names)
        stacks = _record(worker.pid, seconds, folder / "profile.txt")
        answered, took = done() - answered, time.monotonic() - began
        spent = _thread_seconds(worker.pid, names)
    finally:
        stop(children)
    used = {name: 1e6 * (spent[name] - cpu.get(name, 0.0)) / max(1, answered) for name in spent}
    threads = dict(sorted(used.items(), key=lambda thread: -thread[1]))
    samples = sum(int(line.rpartition(" ")[2]) for line in stacks)
    return Profile(answered / took, threads, samples / (_HERTZ * int(seconds)), costs(stacks))


def _thread_names(pid: int) -> dict[int, str]:
    """The interpreter's names of its threads, by the kernel's number."""
    said: list[dict[str, Any]] = json.loads(_spy("dump", "--json", "--pid", str(pid)))
    return {thread["os_thread_id"]: thread["thread_name"] for thread in said if thread["thread_name"]}


def _thread_seconds(pid: int, names: dict[int, str]) -> dict[str, float]:
    """CPU seconds of each thread, those of one kind together."""
    seconds: dict[str, float] = defaultdict(float)
    for thread in psutil.Process(pid).threads():
        comm = Path(f"/proc/{pid}/task/{thread.id}/comm")
        try:
            name = names.get(thread.id) or comm.read_text().strip()
        except OSError:  # it has just ended
            continue
        seconds[re.sub(r"[_-]?\d+$", "", name)] += thread.user_time + thread.system_time
    return seconds


def _record(pid: int, seconds: float, output: Path) -> list[str]:
    """Collapsed stacks: `outermost (file:line);…;innermost (file:line) samples`."""
    options = ["--gil", "--rate", str(_HERTZ), "--duration", str(int(seconds)), "--format", "raw"]
    _spy("record", "--pid", str(pid), *options, "--output", str(output), timeout_s=seconds + _IDLE_SECONDS)
    return output.read_text().splitlines()


def _spy(*arguments: str, timeout_s: float = _IDLE_SECONDS) -> str:
    spy = Path(sys.executable).parent / "py-spy"
    if not spy.is_file():
        raise MarqueeError(
            "the profile is taken by py-spy, which is missing; run `make bench`, which installs it"
        )
    said = subprocess.run(
        [str(spy), *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if said.returncode:
        raise MarqueeError(
            f"py-spy could not look at the worker ({said.stderr.strip()[-300:]}); run it as root"
        )
    return said.stdout


def costs(stacks: Iterable[str]) -> list[Cost]:
    """The functions of collapsed stacks, the dearest by themselves first."""
    own: Counter[str] = Counter()
    together: Counter[str] = Counter()
    for line in stacks:
        stack, _, samples = line.rpartition(" ")
        functions = [_function(frame) for frame in stack.split(";")]
        own[functions[-1]] += int(samples)
        for function in set(functions):
            together[function] += int(samples)
    total = own.total()
    return [Cost(name, count / total, together[name] / total) for name, count in own.most_common()]


def _function(frame: str) -> str:
    """`name (file:line)` without its line."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame

"""Where the worker's CPU goes at full load, as py-spy sees it from outside."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.bench.contenders import MARQUEE
from ops.bench.deployment import Deployment
from ops.bench.events import Draft, endless
from ops.bench.trial import start, stop
from ops.local.process import ChildProcess
from schemas.errors import MarqueeError

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


def profile(
    deployment: Deployment, pool: Sequence[Draft], expected: float, seconds: float, folder: Path
) -> list[Cost]:
    """Sample one worker at full load for so long; `expected` events/s say how many to lay out.

    Raises:
        MarqueeError: py-spy is not there, or may not look at the worker.
    """
    events = int(expected * (_WARM_SECONDS + seconds + _SPARE_SECONDS))
    topic = deployment.settings.names.recommendations
    before = sum(deployment.ends(topic).values())
    children = start(MARQUEE, deployment, deployment.publish(endless(pool), events), folder)
    try:
        children[0].wait_until(lambda: sum(deployment.ends(topic).values()) > before, _READY_SECONDS)
        time.sleep(_WARM_SECONDS)
        return costs(_record(children[0], seconds, folder / "profile.txt"))
    finally:
        stop(children)


def _record(child: ChildProcess, seconds: float, output: Path) -> list[str]:
    """Collapsed stacks: `outermost (file:line);…;innermost (file:line) samples`."""
    spy = Path(sys.executable).parent / "py-spy"
    if not spy.is_file():
        raise MarqueeError("the profile is taken by py-spy, which is missing; install marquee[bench]")
    options = [
        "--rate",
        str(_HERTZ),
        "--duration",
        str(int(seconds)),
        "--format",
        "raw",
        "--output",
        str(output),
    ]
    command = [str(spy), "record", "--pid", str(child.pid), *options]
    said = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + _IDLE_SECONDS, check=False
    )
    if said.returncode:
        raise MarqueeError(
            f"py-spy could not look at the worker ({said.stderr.strip()[-300:]}); run it as root"
        )
    return output.read_text().splitlines()


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

"""Child processes for work that could end the worker: to decode a batch beyond the client's limits, to answer a suspect event.

Each task runs in a thread of its own. A child takes one order on stdin, as JSON, and writes lines of JSON to stdout.
"""

import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from confluent_kafka import KafkaException, TopicPartition

from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.monitoring.threads import start_vital

log = logging.getLogger(__name__)

# A second end of a child at the same batch or event shows that the batch or event is the cause.
DEATHS = 2
_CGROUP = Path("/sys/fs/cgroup")

# Silence of a child that loads a release, or answers an event, after which it is ended; it gives up an event after 30 s itself.
LOADING_SECONDS = 60.0
EVENT_SECONDS = 45.0
# For all events of a rehearsal: after that their partitions go on without it, however slow Milvus is.
REHEARSAL_SECONDS = 180.0
# Signals by which an operator ends a process on purpose.
_BY_HAND = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def room_in_container(folder: Path = _CGROUP) -> int:
    """Bytes until the container's limit, at which the kernel may end all of its processes, the worker among them.

    Large where no limit can be read (cgroup v2).
    """
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii")
        used = (folder / "memory.current").read_text(encoding="ascii")
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # not in a container, or `max`
        return sys.maxsize


class ChildTask(ABC):
    """A task of child processes. Created by the poll thread, which looks at `done`; a subclass sets its fields first."""

    def __init__(self, name: str, module: str) -> None:
        """`module` is the program of the children."""
        self.problem: str | None = None
        self._module = module
        self._child: subprocess.Popen[bytes] | None = None
        self._cancelled = False
        self._thread = start_vital(name, self._run, self._failed)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def cancel(self) -> None:
        """End the child; nothing that it has found counts."""
        self._cancelled = True
        if child := self._child:
            child.kill()

    @abstractmethod
    def _work(self) -> None:
        """Run one child after the other. UnreachableError, KafkaException and OSError become the problem."""

    def _run(self) -> None:
        try:
            self._work()
        except (UnreachableError, KafkaException, OSError) as error:
            self.problem = str(error)

    def _failed(self, error: BaseException) -> None:
        self.problem = f"{type(error).__name__}: {error}"

    def _run_child(
        self, order: Mapping[str, Any], take: Callable[[dict[str, Any]], None], patience: Callable[[], float]
    ) -> int:
        """Run a child to its end, and return its exit code.

        Args:
            take: gets each line.
            patience: seconds to wait for the next line.

        Raises:
            UnreachableError: no line came in time; the child is ended.
        """
        command = [sys.executable, "-m", self._module]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            self._child = child
            if self._cancelled:
                child.kill()
            try:
                for line in _lines(child, json.dumps(order).encode(), patience):
                    take(line)
            except BaseException:
                child.kill()
                raise
            return child.wait()


def _lines(
    child: "subprocess.Popen[bytes]", order: bytes, patience: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    """The whole lines of a child; a last one that its end cut off is left out."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(order)
        child.stdin.close()
    except BrokenPipeError:  # the child has ended already, which its exit code shows
        pass
    rest = b""
    while True:
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, patience()))
        if not ready:
            raise UnreachableError("the child process did not answer in time")
        data = os.read(child.stdout.fileno(), 65_536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from map(json.loads, lines)


class RehearsalOrder(TypedDict):
    """The events to try."""

    settings: dict[str, Any]  # beyond the environment
    positions: list[tuple[int, int, int]]  # partition, offset, events at most


@dataclass(slots=True)
class _Left:
    """The next event to try of one partition, and the number of events to try."""

    offset: int
    events: int


@dataclass
class Progress:
    """The lines of the children of a rehearsal, summed up."""

    left: dict[int, _Left]
    condemned: dict[int, dict[int, str]] = field(default_factory=dict)
    """By partition, offsets of events at which processes end, and how the last one ended."""
    answered: int = 0
    trying: tuple[int, int] | None = None
    """Partition and offset of the event that a child answers now."""
    _deaths: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def of(cls, positions: Iterable[TopicPartition], events: int) -> "Progress":
        """The beginning, with so many events of each partition to try."""
        return cls({place.partition: _Left(place.offset, events) for place in positions})

    def take(self, line: Mapping[str, Any]) -> None:
        if "begin" in line:
            self.trying = partition, offset = line["begin"][0], line["begin"][1]
            self.left[partition].offset = offset  # the child may have passed over markers of transactions
        elif "done" in line:
            self.answered += 1
            self._pass_over(*line["done"])
        elif "end" in line:
            self.left.pop(line["end"], None)

    def died(self, how: str) -> bool:
        """Note the end of a child; whether it was at an event, so that another child is to go on."""
        tried, self.trying = self.trying, None
        if tried is None:
            return False
        self._deaths[tried] += 1
        log.warning("a child process that tried the event at partition %d, offset %d, %s", *tried, how)
        if self._deaths[tried] >= DEATHS:
            self.condemned.setdefault(tried[0], {})[tried[1]] = how
            self._pass_over(*tried)
        return True

    def _pass_over(self, partition: int, offset: int) -> None:
        left = self.left[partition]
        left.offset, left.events, self.trying = offset + 1, left.events - 1, None
        if left.events <= 0:
            del self.left[partition]


class Rehearsal(ChildTask):
    """Tries the next events of some partitions, in one child after another, to find those at which a process ends."""

    def __init__(self, settings: Settings, positions: Sequence[TopicPartition], events: int) -> None:
        """`events` is the number of events to try of each partition."""
        self._settings = settings
        self.positions = {place.partition: place.offset for place in positions}
        self.progress = Progress.of(positions, events)
        self._deadline = time.monotonic() + REHEARSAL_SECONDS
        self._finished = False
        super().__init__("rehearsal", "worker.stream.rehearser")

    @property
    def stage(self) -> str:
        """The work of the child, for a person."""
        trying = self.progress.trying
        if trying is None:
            return "it loads the release" if self.progress.answered == 0 else "it polls"
        return f"it answers the event at partition {trying[0]}, offset {trying[1]}"

    def _work(self) -> None:
        while self.progress.left and not (self._cancelled or self._finished):
            self._run_next()

    def _run_next(self) -> None:
        """Run a child to its end, which is at an event or after all of them.

        Raises:
            UnreachableError: it could not begin, or did not answer in time.
        """
        self._check_room()
        code = self._run_child(self._order(), self._take, self._patience)
        if self._finished:
            return
        if self._cancelled or -code in _BY_HAND:
            raise UnreachableError(f"the child process was ended by signal {-code}")
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if not self.progress.died(how):
            raise UnreachableError(f"the child process {how} before it tried an event")

    def _take(self, line: Mapping[str, Any]) -> None:
        if "failed" in line:
            raise UnreachableError(str(line["failed"]))
        self._finished = "bye" in line
        self.progress.take(line)

    def _patience(self) -> float:
        silence = EVENT_SECONDS if self.progress.trying else LOADING_SECONDS
        return min(silence, self._deadline - time.monotonic())

    def _check_room(self) -> None:
        """In a container a child that takes too much memory may end all of its processes; it takes as much as this one.

        Raises:
            UnreachableError: there is no room for a child.
        """
        needed, room = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, room_in_container()
        if room < needed:
            raise UnreachableError(
                f"the container has {room >> 20} MiB of memory left, and the process takes {needed >> 20} MiB"
            )

    def _order(self) -> RehearsalOrder:
        settings = self._settings
        return RehearsalOrder(
            # Options of the command line; the child inherits the environment.
            settings={
                "prefix": settings.prefix,
                "store": settings.store,
                "kafka": {"bootstrap_servers": settings.kafka.bootstrap_servers},
                "milvus": {"uri": settings.milvus.uri},
            },
            positions=[(n, left.offset, left.events) for n, left in self.progress.left.items()],
        )

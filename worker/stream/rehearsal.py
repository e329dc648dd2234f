"""Events answered in a child process first, because workers have ended at them: on which one does a process end?"""

import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import TopicPartition

from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.monitoring.threads import start_vital
from worker.stream.read_aside import room_in_container
from worker.stream.rehearser import Order

log = logging.getLogger(__name__)

# A second end at the same event says that the event is the cause.
DEATHS = 2
# A child that says nothing for so long, also while it loads a release, is ended, and nothing is known.
SILENT_SECONDS = 120.0
# How somebody ends a process who means it.
_BY_HAND = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


@dataclass(slots=True)
class _Left:
    """What is left of one partition."""

    offset: int
    events: int


@dataclass
class Progress:
    """What the children have said, one after the other."""

    left: dict[int, _Left]
    condemned: dict[int, dict[int, str]] = field(default_factory=dict)
    """By partition, offsets of events at which processes end, and how the last one did."""
    answered: int = 0
    _tried: tuple[int, int] | None = None
    _deaths: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def of(cls, positions: Iterable[TopicPartition], events: int) -> "Progress":
        """Nothing is said yet, and so many events of each partition are to be tried."""
        return cls({place.partition: _Left(place.offset, events) for place in positions})

    def heard(self, line: dict[str, Any]) -> None:
        """Take in a line of the child's."""
        if "begin" in line:
            self._tried = partition, offset = line["begin"][0], line["begin"][1]
            self.left[partition].offset = offset  # it may have passed over markers of transactions
        elif "done" in line:
            self.answered += 1
            self._pass_over(*line["done"])
        elif "end" in line:
            self.left.pop(line["end"], None)

    def died(self, how: str) -> bool:
        """A child has ended; whether that was at an event, and another child is to go on."""
        tried, self._tried = self._tried, None
        if tried is None:
            return False
        self._deaths[tried] += 1
        log.warning("a process that tried the event at partition %d, offset %d, %s", *tried, how)
        if self._deaths[tried] >= DEATHS:
            self.condemned.setdefault(tried[0], {})[tried[1]] = how
            self._pass_over(*tried)
        return True

    def _pass_over(self, partition: int, offset: int) -> None:
        left = self.left[partition]
        left.offset, left.events, self._tried = offset + 1, left.events - 1, None
        if left.events <= 0:
            del self.left[partition]


class Rehearsal:
    """The next events of some partitions, tried in a thread of its own, one child after another."""

    def __init__(self, settings: Settings, positions: Sequence[TopicPartition], events: int) -> None:
        """`events` is how many to try of each partition."""
        self._settings = settings
        self.positions = {place.partition: place.offset for place in positions}
        self.progress = Progress.of(positions, events)
        self._child: subprocess.Popen[bytes] | None = None
        self._cancelled = False
        self.problem: str | None = None
        self._thread = start_vital("rehearsal", self._run, self._failed)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def cancel(self) -> None:
        self._cancelled = True
        if child := self._child:
            child.kill()

    def _run(self) -> None:
        try:
            while self.progress.left and not self._cancelled and self._in_child():
                pass
        except (UnreachableError, OSError) as error:
            self.problem = str(error)

    def _failed(self, error: BaseException) -> None:
        """The events are answered without a rehearsal."""
        self.problem = f"{type(error).__name__}: {error}"

    def _in_child(self) -> bool:
        """Whether a further child is to go on, because this one has ended at an event.

        Raises:
            UnreachableError: it could not begin, or came to no end.
        """
        self._look_for_room()
        command = [sys.executable, "-m", "worker.stream.rehearser"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            self._child = child
            if self._cancelled:
                child.kill()
            try:
                for line in _lines(child, json.dumps(self._order()).encode()):
                    if "failed" in line:
                        raise UnreachableError(str(line["failed"]))
                    if "bye" in line:
                        return False
                    self.progress.heard(line)
            finally:
                if sys.exc_info()[0] is not None:
                    child.kill()
            code = child.wait()
        if self._cancelled or -code in _BY_HAND:
            raise UnreachableError(f"the process was ended by signal {-code}")
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if not self.progress.died(how):
            raise UnreachableError(f"the process {how} before it tried an event")
        return True

    def _look_for_room(self) -> None:
        """In a container a child that takes too much memory may end all of its processes: it takes what this one does.

        Raises:
            UnreachableError: there is no room for a child.
        """
        needed, room = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, room_in_container()
        if room < needed:
            raise UnreachableError(
                f"the container has {room >> 20} MiB of memory left, and the process takes {needed >> 20} MiB"
            )

    def _order(self) -> Order:
        settings = self._settings
        return Order(
            # What options of the command line may have said; the environment is inherited.
            settings={
                "prefix": settings.prefix,
                "store": settings.store,
                "kafka": {"bootstrap_servers": settings.kafka.bootstrap_servers},
                "milvus": {"uri": settings.milvus.uri},
            },
            positions=[(n, left.offset, left.events) for n, left in self.progress.left.items()],
        )


def _lines(child: "subprocess.Popen[bytes]", order: bytes) -> Iterator[dict[str, Any]]:
    """Lines of the child's to its end; the last one may have been cut off.

    Raises:
        UnreachableError: it says nothing any more.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(order)
        child.stdin.close()
    except BrokenPipeError:  # it has ended before it was told anything; its exit code tells
        pass
    said = b""
    while True:
        ready, _, _ = select.select([child.stdout], [], [], SILENT_SECONDS)
        if not ready:
            raise UnreachableError("the process that tries the events came to no end")
        data = os.read(child.stdout.fileno(), 65_536)
        if not data:
            return
        *lines, said = (said + data).split(b"\n")
        yield from map(json.loads, lines)

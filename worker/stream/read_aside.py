"""Reading a batch that the worker's client cannot decode, in a child process, up to the events or the dead letters."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.events import MAX_EVENT_BYTES, CopiedEvent, Partition, read_event, unreadable_event
from worker.kafka.undecodable import Order, extent_of_batch
from worker.monitoring.threads import start_vital

log = logging.getLogger(__name__)

# Of the child's address space. Python, librdkafka and its threads take 0.4 GiB of it; the client holds a record twice
# while it decodes it, so records of some 500 MB can be read.
MEMORY_BYTES = 2 * 1024**3
_CGROUP = Path("/sys/fs/cgroup")
# A child takes 0.3 s, and 1 s for each GB; brokers that are away take the rest.
CHILD_SECONDS = 60.0
_READ_SECONDS = 30.0
_PROBE_SECONDS = 30.0
# Of all values that one child hands over.
_RECORD_BYTES = 16 * 1024**2
# Ends of the child by a signal: a second one says that the batch is the cause.
_DEATHS = 2

# One at a time in a process, so that a second one's memory is not added.
_one = threading.Lock()


@dataclass(frozen=True, slots=True)
class Aside:
    """What was read: the events, in order, and the offset at which the worker's own client goes on."""

    events: Sequence[CopiedEvent]
    next_offset: int


def room_in_container(folder: Path = _CGROUP) -> int:
    """Bytes until the container's own limit; at that the kernel may end all of its processes, the worker among them.

    Large where there is no limit that can be read (cgroup v2).
    """
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii")
        used = (folder / "memory.current").read_text(encoding="ascii")
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # not in a container, or `max`
        return sys.maxsize


class _DiedError(Exception):
    """The child ended by a signal while it read the batch."""


class ReadAside:
    """One batch, read in a thread of its own."""

    def __init__(self, settings: Settings, place: Partition, position: int, first: int) -> None:
        """`position` is the first offset that is wanted, or OFFSET_BEGINNING; `first` the one reported for the batch."""
        self._settings, self._place = settings, place
        self._position, self._first = position, first
        self._child: subprocess.Popen[bytes] | None = None
        self._cancelled = False
        self.found: Aside | None = None
        self.problem: str | None = None
        self._thread = start_vital("read-aside", self._run, self._failed)

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
            with _one:
                self.found = None if self._cancelled else self._read()
        except (UnreachableError, KafkaException, OSError) as error:
            self.problem = str(error)

    def _failed(self, error: BaseException) -> None:
        """Named at /health/ready, and tried again."""
        self.problem = f"{type(error).__name__}: {error}"

    def _read(self) -> Aside:
        why = "the process that read it ended for lack of memory, or by a fault in a library, twice"
        for _ in range(_DEATHS):
            try:
                said = self._in_child()
            except _DiedError as death:
                log.warning("reading %s-%d@%d: %s", *self._place, self._position, death)
                continue
            events = [read_event(self._place, line) for line in said if "offset" in line]
            after = [line["next"] for line in said if "next" in line]
            if after:
                return Aside(events, after[0])
            failed = [line["error"] for line in said if "error" in line]
            if not failed:
                raise UnreachableError("the brokers did not give the batch in time")
            why = failed[0]
            break
        return self._unreadable(why)

    def _unreadable(self, why: str) -> Aside:
        """Dead letters for the offsets of the batch; of a large one for so many as are handled together."""
        settings = self._settings
        config = kafka.reader(settings.kafka, settings.names.worker_group)
        begin, end = extent_of_batch(config, self._place, self._first, _PROBE_SECONDS)
        begin = max(begin, self._position)
        end = min(end, begin + settings.worker.batch_events)
        error = f"the Kafka client cannot decode the record: {why}"
        return Aside([unreadable_event(self._place, offset, error) for offset in range(begin, end)], end)

    def _in_child(self) -> list[dict[str, Any]]:
        """What the child says, line by line.

        Raises:
            _DiedError: it ended by a signal while it read.
            UnreachableError: it came to no end, or could not begin.
        """
        command = [sys.executable, "-m", "worker.kafka.undecodable"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            self._child = child
            if self._cancelled:
                child.kill()
            try:
                output, _ = child.communicate(json.dumps(self._order()).encode(), CHILD_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                raise UnreachableError("the process that reads the batch came to no end") from None
        said = [json.loads(line) for line in output.splitlines() if line.endswith(b"}")]
        if child.returncode == 0:
            return said
        if child.returncode < 0 and said and not self._cancelled:
            raise _DiedError(f"the child process ended by signal {-child.returncode}")
        raise UnreachableError(f"the process that reads the batch ended with {child.returncode}")

    def _order(self) -> Order:
        settings = self._settings
        config = kafka.reader(settings.kafka, settings.names.worker_group) | {
            "receive.message.max.bytes": 2_147_483_647,
            # A broker gives one batch whole even so, and the child shall hold no second.
            "fetch.message.max.bytes": 1,
            "queued.min.messages": 1,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
        return Order(
            config=config,
            topic=self._place[0],
            partition=self._place[1],
            offset=self._position,
            records=settings.worker.batch_events,
            record_bytes=_RECORD_BYTES,
            max_value_bytes=MAX_EVENT_BYTES,
            memory_bytes=min(MEMORY_BYTES, room_in_container()),
            seconds=_READ_SECONDS,
        )

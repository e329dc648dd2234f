"""A process of Marquee: its end by signals, its id on Kafka, and the pace of its interpreter."""

import gc
import hashlib
import logging
import re
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EADDRINUSE
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

from schemas.errors import SettingsError

log = logging.getLogger(__name__)

SLOTS = 1_000  # processes of one role in one network namespace

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")
# The default host name of a container is its id. The id outlives a restart of the container, and the network namespace does not.
_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")
# Almost all objects die by their reference count. By Python's own thresholds the collector would look for cycles every 700
# objects, and now and then through a whole catalogue: a tenth of the worker's CPU, and pauses that grow with the catalogue.
# These are some batches of 1,024; larger ones would only let objects in cycles (a traceback) live longer.
_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50
# The wait of a thread that returns from Kafka or Milvus for one that encodes or decodes. By Python's own 5 ms, a call of 1 ms
# beside a busy thread took 8 to 10 ms more, with this 2 to 3; a batch returns some ten times.
_SWITCH_SECONDS = 0.0005


class Stopping:
    """A flag like `threading.Event` that a signal handler may set, wherever that interrupts its own thread.

    Setting an event takes a lock; where the interrupted thread holds it, the thread would wait for itself. A `SimpleQueue` takes
    none.
    """

    def __init__(self) -> None:
        self._set = False
        self._woken: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """End every `wait`."""
        self._set = True
        self._woken.put(None)

    def is_set(self) -> bool:
        """Whether this process has to end."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`, in one thread at a time, and return whether the flag is set."""
        if not self._set:
            with suppress(Empty):
                self._woken.get(timeout=seconds)
        return self._set


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stop())


@contextmanager
def until_signalled() -> Iterator[Stopping]:
    """A flag that SIGTERM and SIGINT set. After the block both are ignored: a second signal must not change exit code 0."""
    stopping = Stopping()
    on_signals(stopping.set)
    yield stopping
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    log.info("stopped")


def tune_interpreter() -> None:
    """Exclude today's objects from garbage collection, and set thresholds for many small objects and busy threads."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    sys.setswitchinterval(_SWITCH_SECONDS)


@dataclass(frozen=True)
class Identity:
    """An id, and the socket that locks it while this process lives."""

    id: str
    _lock: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Unlock the id for another process."""
        if self._lock:
            self._lock.close()


def claim_identity(named: str | None, scope: str) -> Identity:
    """Return the named id, or else the host name, the lowest free slot, and a mark of this machine's boot and network namespace.

    A slot is the name of a socket, which the kernel keeps unique in a network namespace, independent of file
    systems and of the brokers' address. The kernel frees it when the process dies, so a restart takes its id again and fences its predecessor.
    The mark differs between machines and network namespaces of one host name. A named id takes no slot: its successor must be
    able to fence a process that hangs.

    Args:
        scope: the group in which ids must differ.

    Raises:
        SettingsError: no slot is free.
    """
    if named:
        return Identity(named)
    host = socket.gethostname()
    mark = _mark(host)
    for slot in range(SLOTS):
        try:
            lock = _try_lock(f"{scope}\n{slot}")
        except OSError as error:
            log.warning(
                "no slot can be locked (%s): this process gets an id that its restart does not take again",
                error,
            )
            return Identity(f"{host}-{slot}-{uuid.uuid4().hex[:8]}")
        if lock:
            return Identity(f"{host}-{slot}-{mark}", lock)
    raise SettingsError(f"all {SLOTS} slots of {scope} on this host are taken: set the id of each process")


def _mark(host: str) -> str:
    """Eight digits of this machine's boot and this network namespace; random ones where neither can be read."""
    try:
        network = (
            "" if _CONTAINER_ID.fullmatch(host) else f"{_NETWORK.stat().st_dev}:{_NETWORK.stat().st_ino}"
        )
        boot = f"{_BOOT.read_text().strip()} {network}"
    except OSError:
        return uuid.uuid4().hex[:8]
    return hashlib.sha256(boot.encode()).hexdigest()[:8]


def _try_lock(name: str) -> socket.socket | None:
    """A socket of that abstract name, or None where another process has it.

    Raises:
        OSError: this system has no such names.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0marquee-{hashlib.sha256(name.encode()).hexdigest()[:32]}")
    except OSError as error:
        lock.close()
        if error.errno == EADDRINUSE:
            return None
        raise
    return lock

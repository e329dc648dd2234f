"""Who this process is on Kafka: a name that its own restart takes again and no other live process has."""

import hashlib
import logging
import re
import socket
import uuid
from dataclasses import dataclass
from errno import EADDRINUSE
from pathlib import Path
from typing import Self

from schemas.errors import SettingsError

log = logging.getLogger(__name__)

SLOTS = 1_000  # processes of one role in one network namespace

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")
# A container's own id, which is its host name unless it is given another. It outlives a restart of the container, and the
# network namespace does not.
_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Identity:
    """An id, and the socket that keeps others from it while this process lives."""

    id: str
    _lock: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let another process have the id."""
        if self._lock:
            self._lock.close()


def claim_identity(named: str | None, scope: str) -> Identity:
    """The named id as it is, or else the host's name, the lowest slot that is free, and a mark of the place.

    The slot is the name of a socket, which the kernel keeps unique in a network namespace: no file system, folder or
    address of a broker has a part in it. It goes with the process, however that dies, so a restart finds its slot free and
    fences its predecessor. The mark tells machines and network namespaces of one host name apart. A named id takes no slot:
    its successor must be able to fence one that hangs.

    Args:
        scope: the group, in which ids must differ.

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
                "no slot can be locked (%s): this process has an id that its restart does not take again",
                error,
            )
            return Identity(f"{host}-{slot}-{uuid.uuid4().hex[:8]}")
        if lock:
            return Identity(f"{host}-{slot}-{mark}", lock)
    raise SettingsError(f"all {SLOTS} slots of {scope} on this host are taken: set the id of each process")


def _mark(host: str) -> str:
    """Of this boot of this machine and this network namespace, in which the slots are; of none where they cannot be read."""
    try:
        network = (
            "" if _CONTAINER_ID.fullmatch(host) else f"{_NETWORK.stat().st_dev}:{_NETWORK.stat().st_ino}"
        )
        place = f"{_BOOT.read_text().strip()} {network}"
    except OSError:
        return uuid.uuid4().hex[:8]
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def _try_lock(name: str) -> socket.socket | None:
    """A socket of that abstract name, or None where another process has it; OSError where there are no such names."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0marquee-{hashlib.sha256(name.encode()).hexdigest()[:32]}")
    except OSError as error:
        lock.close()
        if error.errno == EADDRINUSE:
            return None
        raise
    return lock

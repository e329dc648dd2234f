"""Who this process is on Kafka: a name that its own restart takes again and no other live process has."""

import fcntl
import hashlib
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from schemas.errors import SettingsError

SLOTS = 1_000  # processes of one role on one host


@dataclass(frozen=True)
class Identity:
    """An id, and the lock that keeps others on this host from it while this process lives."""

    id: str
    _lock: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let another process have the id."""
        if self._lock:
            self._lock.close()


def claim_identity(named: str | None, scope: str) -> Identity:
    """The named id as it is, or else the host's name and the lowest slot that is free on this host.

    `scope` is what the id must be unique in (cluster and group). The lock goes with the process, however it dies, so a
    restart finds its slot free and fences its predecessor. A named id takes no lock: its successor must be able to
    fence one that hangs.

    Raises:
        SettingsError: no slot is free, or no temporary folder can be written.
    """
    if named:
        return Identity(named)
    for slot in range(SLOTS):
        candidate = f"{socket.gethostname()}-{slot}"
        lock = _try_lock(f"{scope}\n{candidate}")
        if lock:
            return Identity(candidate, lock)
    raise SettingsError(f"all {SLOTS} slots of {scope} on this host are taken: set the id of each process")


def _try_lock(name: str) -> IO[str] | None:
    try:
        path = Path(tempfile.gettempdir()) / f"marquee-{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
        file = path.open("a")
    except PermissionError:  # another user's slot
        return None
    except OSError as error:
        raise SettingsError(
            f"no temporary folder can be written ({error}): set TMPDIR to one, or the id of each process"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file

"""File errors of this machine that an operator can repair: no room, no access, a file in place of a folder."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import MarqueeError

_REPAIRABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR})


class MachineError(MarqueeError):
    """A file or folder of this machine cannot be used: the process ends, and its supervisor restarts it."""


def is_of_this_machine(error: OSError) -> bool:
    """Whether a folder cannot be written, or the disk is full."""
    no_temporary = isinstance(error, FileNotFoundError) and "temporary directory" in str(error)
    return no_temporary or error.errno in _REPAIRABLE


def in_words(error: OSError) -> str:
    """Describe such an error in a sentence."""
    return f"{error}; a file or folder here cannot be used as it is"


@contextmanager
def long_running() -> Iterator[None]:
    """Convert file errors of this machine in a process that runs until it is stopped.

    Exit code 2 is for wrong settings and refused credentials alone, so that a full disk ends such a process with 1.

    Raises:
        MachineError: in place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if not is_of_this_machine(error):
            raise
        raise MachineError(in_words(error)) from error

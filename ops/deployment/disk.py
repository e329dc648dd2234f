"""A machine that does not let us write: no room, no right, a file where a folder should be. A person can mend it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import MarqueeError

_MENDABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR})


class MachineError(MarqueeError):
    """A file or folder of this machine cannot be used: a started process ends, and its supervisor starts it anew."""


def is_of_this_machine(error: OSError) -> bool:
    """Whether a folder cannot be written, or the disk is full."""
    no_temporary = isinstance(error, FileNotFoundError) and "temporary directory" in str(error)
    return no_temporary or error.errno in _MENDABLE


def in_words(error: OSError) -> str:
    return f"{error}; a file or folder here cannot be used as it is"


@contextmanager
def long_running() -> Iterator[None]:
    """Around the work of a process that runs until it is stopped.

    A full disk is neither a wrong setting nor a refusal, which alone end such a process with exit code 2.

    Raises:
        MachineError: in place of an OSError that is a matter of this machine.
    """
    try:
        yield
    except OSError as error:
        if not is_of_this_machine(error):
            raise
        raise MachineError(in_words(error)) from error

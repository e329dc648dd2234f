"""The cores of each process: all for all, or one for Milvus and another for everything else (Linux)."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schemas.errors import MarqueeError

Setup = Literal["shared", "pinned"]


@dataclass(frozen=True)
class Cores:
    """The cores of Milvus, and those of everything else."""

    milvus: frozenset[int]
    others: frozenset[int]


def cores_of(setup: Setup, available: Iterable[int]) -> Cores:
    """The cores of a set-up; pinned leaves each side exactly one, as if Milvus had a machine of its own.

    Raises:
        MarqueeError: there is only one core to pin to.
    """
    every = sorted(available)
    if setup == "shared":
        return Cores(frozenset(every), frozenset(every))
    if len(every) < 2:
        raise MarqueeError(
            "the pinned set-up needs two cores, and this process may use one; leave it out with --only"
        )
    return Cores(frozenset(every[:1]), frozenset(every[1:2]))


def confine(process: int, cores: frozenset[int]) -> None:
    """Move a process with all its threads to some cores; its later children inherit them."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:  # it has just ended
            continue

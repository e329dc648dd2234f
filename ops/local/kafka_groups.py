"""Whether a Kafka node came back without the groups that it coordinates, as its log tells.

A lone broker that starts again after a kill -9 leads its partitions as before, is put out of office with its old session,
and leads them anew. Kafka (4.2.2, 4.3.1) then loads its groups twice, and where the first load ends late (some seconds, on a busy
machine) it takes it for the second's end: what is read afterwards has no timers, so that members who died in the meantime
keep their partitions for good; or it fails, and no transaction of those groups ends. Started once more, it loads whole.
"""

import re

from ops.local.process import ChildProcess

_LOADS = re.compile(
    rb"(?P<what>Scheduling loading of|Finished loading of|Failed to load) metadata from "
    rb"(?P<partition>__consumer_offsets-\d+) with epoch (?P<epoch>\d+)"
)


class GroupLoads:
    """Follows the log of a node from its last start on."""

    def __init__(self, node: ChildProcess) -> None:
        self._node = node
        self._begin()

    def are_lost(self) -> bool:
        """Whether groups were lost since the last start; reads what the log has more."""
        if self._start != self._node.log_start:
            self._begin()
        if self._node.log.is_file():
            with self._node.log.open("rb") as log:
                log.seek(self._read)
                lines = log.read().rpartition(b"\n")[0]
            self._read += len(lines)
            for load in _LOADS.finditer(lines):
                self._take(load["what"], load["partition"], int(load["epoch"]))
        return self._lost

    def _begin(self) -> None:
        self._start = self._read = self._node.log_start
        self._due: dict[bytes, int] = {}  # the epoch under which each partition is led now
        self._lost = False

    def _take(self, what: bytes, partition: bytes, epoch: int) -> None:
        if what == b"Scheduling loading of":
            self._due[partition] = epoch
        else:
            self._lost |= what == b"Failed to load" or epoch < self._due.get(partition, epoch)

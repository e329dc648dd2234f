"""Ends of workers at one committed offset, counted in the metadata that the group keeps beside the offset.

A worker that is given a partition commits the partition's offset again, with a mark. A commit of results has no metadata, and an
orderly stop and a revoke take the mark away. So a mark that the next owner finds says that a worker ended without either, and
with it the number of those before. A count that is lost (a commit that failed) costs another end, and never an event.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import KafkaException, TopicPartition

from worker.kafka.errors import raise_if_final

log = logging.getLogger(__name__)

# After so many ends at one offset its events are tried in another process first.
ENDS = 3

_MARK = re.compile(r"marquee:1:ends=(\d{1,6})@(\d{1,19})", re.ASCII)

Commit = Callable[[list[TopicPartition]], None]


def ends_of(metadata: str | None, offset: int) -> int:
    """How many workers have ended at this committed offset; metadata of others, and of another offset, counts zero."""
    found = _MARK.fullmatch(metadata or "")
    return int(found[1]) if found and int(found[2]) == offset else 0


def mark_of(ends: int, offset: int) -> str:
    """The metadata of an owner that takes up a partition: one more end, unless a commit, a stop or a revoke comes first."""
    return f"marquee:1:ends={min(ends, 999_999)}@{offset}"


class Attempts:
    """The marks of the partitions that this worker has. Used by the thread that polls, and by its consumer's callbacks."""

    def __init__(self, commit: Commit) -> None:
        """`commit` commits as a member of the group, and raises KafkaException."""
        self._commit = commit
        self._new: set[int] = set()
        self._marked: dict[int, tuple[int, int]] = {}  # offset, and the ends before us

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """The group has given us these partitions; a rewind is no new assignment, and no end of a worker."""
        for place in partitions:
            self._new.add(place.partition)
            self._marked.pop(place.partition, None)

    def mark(self, positions: Sequence[TopicPartition], begin: Mapping[int, int]) -> None:
        """Mark the new ones among these, once, before any of their events is taken: nothing of them is in flight.

        Args:
            positions: as the group told them, with their metadata.
            begin: offsets of those whose position is no offset.

        Raises:
            KafkaException: not committed, or that is unknown. Positions are to be read again; the mark is not tried again.
        """
        marks = []
        for place in positions:
            number = place.partition
            offset = place.offset if place.offset >= 0 else begin.get(number, -1)
            if number in self._new and offset >= 0:
                ends = ends_of(place.metadata, offset)
                self._marked[number] = offset, ends
                marks.append(TopicPartition(place.topic, number, offset, mark_of(ends + 1, offset)))
        self._new -= {place.partition for place in positions}
        if marks:
            self._commit(marks)

    def ends(self, partition: int) -> int:
        """How many workers had ended at the offset at which this one took the partition up."""
        return self._marked.get(partition, (0, 0))[1]

    def take_back(self, topic: str, positions: Mapping[int, int]) -> None:
        """Remove the marks of partitions that still stand where they were marked; they go in good order.

        Args:
            topic: the one of the partitions.
            positions: where each is, of which nothing may be in flight.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        places = [
            TopicPartition(topic, number, offset)
            for number, offset in positions.items()
            if self._marked.get(number, (None, 0))[0] == offset
        ]
        if not places:
            return
        try:
            self._commit(places)
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            log.info("marks not taken back, this end of a worker counts: %s", exception.args[0].str())

    def gone(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions are not ours any more."""
        for place in partitions:
            self._new.discard(place.partition)
            self._marked.pop(place.partition, None)

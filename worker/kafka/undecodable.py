"""Batches of a topic that the Kafka client cannot decode: how they are noticed, and where they end.

The client reports such a batch under the offset of its first record, again and again, and reads nothing behind it.
"""

import logging
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.errors import UnreachableError
from schemas.kafka import watermarks
from worker.events import Partition, partition_of

log = logging.getLogger(__name__)

# Seen so often at one offset, an error is the batch's and not the network's.
STRIKES = 3

_SECONDS = 10.0  # for a batch's end; a probe takes some milliseconds

_UNDECODABLE = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG, KafkaError.INVALID_MSG})


def undecodable_at(message: Message) -> int | None:
    """Offset of the batch that could not be decoded; None where the message says something else."""
    error, offset = message.error(), message.offset()
    if error is None or error.code() not in _UNDECODABLE or offset is None or offset < 0:
        return None
    return offset


class Strikes:
    """Counts errors of one batch in a row, partition by partition."""

    def __init__(self) -> None:
        self._seen: dict[Partition, tuple[int, int]] = {}

    def out(self, message: Message) -> bool:
        """Whether the batch that this error is about was seen `STRIKES` times."""
        place, offset = partition_of(message), message.offset() or 0
        before, times = self._seen.get(place, (offset, 0))
        times = times + 1 if before == offset else 1
        self._seen[place] = offset, times
        return times >= STRIKES

    def forget(self, place: Partition) -> None:
        self._seen.pop(place, None)


class Skipping:
    """Goes on behind batches that cannot be decoded, for a reader that can do without their records."""

    def __init__(self, config: dict[str, Any], consumer: Consumer) -> None:
        """`config` is the consumer's."""
        self._config, self._consumer = config, consumer
        self._strikes = Strikes()

    def skip(self, message: Message, first: int) -> tuple[int, int] | None:
        """The offsets that are skipped, its end not among them; None before the error was seen `STRIKES` times.

        Raises:
            UnreachableError: Kafka does not tell where the batch ends.
            KafkaException: as the client's.
        """
        place = partition_of(message)
        if not self._strikes.out(message):
            return None
        begin, end = extent_of_batch(self._config, place, first, _SECONDS)
        log.error("cannot decode the batch at %s-%d@%d to %d: skipping it", *place, begin, end - 1)
        position = [TopicPartition(*place, end)]
        # Assigned anew, because `seek` refuses a partition whose last fetch failed.
        self._consumer.incremental_unassign(position)
        self._consumer.incremental_assign(position)
        self._strikes.forget(place)
        return begin, end


def extent_of_batch(config: dict[str, Any], place: Partition, first: int, seconds: float) -> tuple[int, int]:
    """The first offset of a batch that cannot be decoded, and the one after it; `first` is what the client reports.

    Retention may have removed the batch's beginning: the first offset is one that is still there.

    A probe of any offset inside the batch fails with the offset of its first record, so the end is searched for in steps
    that double, and then halve. The limits of `config` must be those of the client that failed: with larger ones the
    batch may be decoded, or take all memory.

    Raises:
        UnreachableError: not within `seconds`.
        KafkaException: as the client's.
    """
    deadline = time.monotonic() + seconds
    consumer = Consumer(config | {"auto.offset.reset": "error", "enable.partition.eof": True})
    try:
        low, bound = watermarks(consumer, TopicPartition(*place), seconds)
        inside, outside, step = max(first, low), bound, 1
        while inside + 1 < outside:
            probed = min(inside + step, outside - 1)
            if _fails_at(consumer, place, probed, deadline) == first:
                inside, step = probed, step * 2
            else:
                outside, step = probed, max(1, (probed - inside) // 2)
        return max(first, low), inside + 1
    finally:
        consumer.close()


def _fails_at(consumer: Consumer, place: Partition, offset: int, deadline: float) -> int | None:
    """The offset that the client reports where it fails to read here; None where it reads, or is past the end."""
    consumer.assign([TopicPartition(*place, offset)])
    while time.monotonic() < deadline:
        for message in consumer.consume(1, 0.1):
            error = message.error()
            if error is None or error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
                return None
            if (failed := undecodable_at(message)) is not None:
                return failed
    raise UnreachableError(f"the end of the batch of {place[0]}-{place[1]} was not found in time")

"""Batches of a topic that the Kafka client cannot decode: where they end, and a child process that reads them nevertheless.

The client reports such a batch under the offset of its first record, again and again, and reads nothing behind it. The child's
limits are larger and its memory is bounded; it joins no group and commits nothing. One order comes in on stdin, as JSON; lines
of JSON go out on stdout:

    {"reading": true}                     the broker answers; an end of this process from here on is caused by the batch
    {"offset": 7, "key": …, "value": …}   a record; one beyond `max_value_bytes` has its length and sha256 instead
    {"failed": 7, "error": "…"}           the batch with this first offset cannot be decoded here either
    {"next": 9}                           the offset to continue at
"""

import hashlib
import json
import logging
import os
import resource
import sys
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.errors import UnreachableError
from schemas.headers import headers_of
from schemas.kafka import watermarks
from worker.events import Partition, partition_of
from worker.kafka.errors import undecodable_at
from worker.monitoring.waiting import Deadline

log = logging.getLogger(__name__)

# An error at one offset so often in a row has its cause in the batch, and not in the network.
STRIKES = 3

_SECONDS = 10.0  # to find a batch's end; a probe takes some milliseconds
_POLL_SECONDS = 0.2


class Strikes:
    """Counts errors of one batch in a row, by partition."""

    def __init__(self) -> None:
        self._seen: dict[Partition, tuple[int, int]] = {}

    def out(self, message: Message) -> bool:
        """Whether the batch of this error was seen `STRIKES` times."""
        partition, offset = partition_of(message), message.offset() or 0
        before, times = self._seen.get(partition, (offset, 0))
        times = times + 1 if before == offset else 1
        self._seen[partition] = offset, times
        return times >= STRIKES

    def forget(self, partition: Partition) -> None:
        """Count this partition from nothing again."""
        self._seen.pop(partition, None)


class Skipping:
    """Seeks past batches that cannot be decoded, for a reader that can do without their records."""

    def __init__(self, config: dict[str, Any], consumer: Consumer) -> None:
        """`config` is the consumer's."""
        self._config, self._consumer = config, consumer
        self._strikes = Strikes()

    def skip(self, message: Message, first: int) -> tuple[int, int] | None:
        """Skip the batch, and return its first offset and the one after it; None before `STRIKES` errors.

        Raises:
            UnreachableError: the end of the batch was not found in time.
            KafkaException: as the client's.
        """
        partition = partition_of(message)
        if not self._strikes.out(message):
            return None
        begin, end = extent_of_batch(self._config, partition, first, _SECONDS)
        log.error("cannot decode the batch at %s-%d@%d to %d: skipping it", *partition, begin, end - 1)
        position = [TopicPartition(*partition, end)]
        # Assigned again, because `seek` refuses a partition whose last fetch failed.
        self._consumer.incremental_unassign(position)
        self._consumer.incremental_assign(position)
        self._strikes.forget(partition)
        return begin, end


def extent_of_batch(
    config: dict[str, Any], partition: Partition, first: int, seconds: float
) -> tuple[int, int]:
    """The first offset of a batch that cannot be decoded, and the one after it; the client reports the batch under `first`.

    Retention may have removed the batch's beginning: the first offset is one that is still there.

    A probe of any offset inside the batch fails with the offset of its first record, so the end is searched for in steps that
    double, and then halve. The limits of `config` must be those of the client that failed: with larger ones the batch may be
    decoded, or take all memory.

    Raises:
        UnreachableError: not within `seconds`.
        KafkaException: as the client's.
    """
    deadline = Deadline(seconds)
    consumer = Consumer(config | {"auto.offset.reset": "error", "enable.partition.eof": True})
    try:
        low, bound = watermarks(consumer, TopicPartition(*partition), seconds)
        inside, outside, step = max(first, low), bound, 1
        while inside + 1 < outside:
            probed = min(inside + step, outside - 1)
            if _fails_at(consumer, partition, probed, deadline) == first:
                inside, step = probed, step * 2
            else:
                outside, step = probed, max(1, (probed - inside) // 2)
        return max(first, low), inside + 1
    finally:
        consumer.close()


def _fails_at(consumer: Consumer, partition: Partition, offset: int, deadline: Deadline) -> int | None:
    """The offset that the client reports where it fails to read here; None where it reads, or is past the end."""
    consumer.assign([TopicPartition(*partition, offset)])
    while not deadline.passed:
        for message in consumer.consume(1, 0.1):
            error = message.error()
            if error is None or error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
                return None
            if (failed := undecodable_at(message)) is not None:
                return failed
    raise UnreachableError(f"the end of the batch of {partition[0]}-{partition[1]} was not found in time")


class Order(TypedDict):
    """The records that the child reads, and its limits."""

    config: dict[str, Any]
    topic: str
    partition: int
    offset: int
    records: int
    record_bytes: int  # of all values together; the one that exceeds it is the last
    max_value_bytes: int
    memory_bytes: int
    seconds: float


def main() -> None:
    """Carry out the order; a lack of memory ends the process by a signal, as it does inside librdkafka."""
    order: Order = json.loads(sys.stdin.buffer.read())
    _bound(order["memory_bytes"])
    try:
        _read(order)
    except MemoryError:
        os.abort()


def _bound(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where the machine has no memory left, the kernel ends this process before the worker.
    with suppress(OSError):  # Linux alone has it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _read(order: Order) -> None:
    begin = TopicPartition(order["topic"], order["partition"], order["offset"])
    consumer = Consumer(order["config"])
    watermarks(consumer, begin, order["seconds"])
    _write({"reading": True})
    consumer.assign([begin])
    deadline = Deadline(order["seconds"])
    left, left_bytes, after = order["records"], order["record_bytes"], None
    while left > 0 and left_bytes > 0 and not deadline.passed:
        messages = consumer.consume(1, _POLL_SECONDS)
        if not messages and after is not None:
            break
        for message in messages:
            if message.error() is None:
                left, left_bytes = left - 1, left_bytes - min(len(message), order["max_value_bytes"])
                after = (message.offset() or 0) + 1
                _write(_record(message, order["max_value_bytes"]))
            elif _ends(message, order["offset"], after):
                left = 0
    if after is not None:
        _write({"next": after})
    sys.stdout.flush()
    os._exit(0)  # closing the consumer would fetch on


def _ends(message: Message, position: int, after: int | None) -> bool:
    """Whether reading ends here; the end or the failure is written where no record came before it."""
    error = message.error()
    assert error is not None
    failed = undecodable_at(message)
    if error.code() == KafkaError._PARTITION_EOF:
        if after is None:
            _write({"next": message.offset()})
        return True
    if (
        error.code() == KafkaError._AUTO_OFFSET_RESET
    ):  # removed since: the worker's own client meets that, too
        _write({"next": position if after is None else after})
        return True
    if failed is not None and after is None:
        _write({"failed": failed, "error": error.str()})
    return failed is not None


def _record(message: Message, max_value_bytes: int) -> dict[str, Any]:
    record: dict[str, Any] = {
        "offset": message.offset(),
        "key": _text(message.key()),
        "timestamp": message.timestamp(),
        "headers": [(name, _text(value)) for name, value in headers_of(message)],
    }
    length = len(message)
    if length > max_value_bytes:
        value = message.value() or b""
        return record | {"length": length, "sha256": hashlib.sha256(value).hexdigest()}
    return record | {"value": _text(message.value())}


def _text(value: bytes | str | None) -> str | None:
    data = value.encode() if isinstance(value, str) else value
    return None if data is None else b64encode(data).decode()


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

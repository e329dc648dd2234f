"""A child process that reads records which the worker's client cannot decode: its limits are larger, its memory is bounded.

It joins no group and commits nothing. One order comes in on stdin, as JSON; lines of JSON go out on stdout:

    {"reading": true}                     the broker answers; an end of this process from here on is the batch's doing
    {"offset": 7, "key": …, "value": …}   a record; one beyond `max_value_bytes` has its length and sha256 instead
    {"failed": 7, "error": "…"}           the batch with this first offset cannot be decoded here either
    {"next": 9}                           where to go on
"""

import hashlib
import json
import os
import resource
import sys
import time
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.headers import headers_of
from schemas.kafka import watermarks
from worker.kafka.undecodable import undecodable_at

_POLL_SECONDS = 0.2


class Order(TypedDict):
    """What to read, and how much at most."""

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
    # Where the machine has no memory left, this process goes before the worker does.
    with suppress(OSError):  # Linux alone has it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _read(order: Order) -> None:
    place = TopicPartition(order["topic"], order["partition"], order["offset"])
    consumer = Consumer(order["config"])
    watermarks(consumer, place, order["seconds"])
    _say({"reading": True})
    consumer.assign([place])
    deadline = time.monotonic() + order["seconds"]
    left, left_bytes, after = order["records"], order["record_bytes"], None
    while left > 0 and left_bytes > 0 and time.monotonic() < deadline:
        messages = consumer.consume(1, _POLL_SECONDS)
        if not messages and after is not None:
            break
        for message in messages:
            if message.error() is None:
                left, left_bytes = left - 1, left_bytes - min(len(message), order["max_value_bytes"])
                after = (message.offset() or 0) + 1
                _say(_record(message, order["max_value_bytes"]))
            elif _ends(message, order["offset"], after):
                left = 0
    if after is not None:
        _say({"next": after})
    sys.stdout.flush()
    os._exit(0)  # closing the consumer would fetch on


def _ends(message: Message, position: int, after: int | None) -> bool:
    """Whether reading ends here; what stands at the end, or fails, is said where no record came before it."""
    error = message.error()
    assert error is not None
    failed = undecodable_at(message)
    if error.code() == KafkaError._PARTITION_EOF:
        if after is None:
            _say({"next": message.offset()})
        return True
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # gone since: the worker's own client meets it, too
        _say({"next": position if after is None else after})
        return True
    if failed is not None and after is None:
        _say({"failed": failed, "error": error.str()})
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


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Reading everything back: a plain read_committed consumer and the json module, and nothing of the worker's or producer's."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.headers import headers_of
from tests.faults.checker import Outcome
from tests.testbed.kafka import ADMIN_SECONDS, READER, Partition, consumer, ends_of

_BATCH = 1_000
_POLL_SECONDS = 0.2
# A silent node must delay neither the load nor the reader, because gaps must be the worker's.
QUICK_TO_NOTICE = {
    "reconnect.backoff.max.ms": 1_000,
    "socket.timeout.ms": 3_000,
    "topic.metadata.refresh.interval.ms": 3_000,  # to learn the new leader, which a stopped node does not report
}


Source = tuple[str, int, int]  # topic, partition and offset


class Stored(NamedTuple):
    """A record as its topic holds it; sha256 of its value."""

    key: bytes | None
    digest: bytes | None
    partition: int
    offset: int


class CommittedReader(threading.Thread):
    """Reads the committed records of two topics from the beginning until `stop`."""

    def __init__(
        self, bootstrap_servers: str, recommendations: str, dead_letters: str, partitions: int
    ) -> None:
        super().__init__(name="committed-reader", daemon=True)
        self._dead_letters = dead_letters
        self._places = [(topic, p) for topic in (recommendations, dead_letters) for p in range(partitions)]
        self._bootstrap_servers = bootstrap_servers
        self._ended_at: dict[Partition, int] = {}
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self.outcomes: list[Outcome] = []
        self.keys: set[bytes | None] = set()
        self.newest_at: dict[
            int, float
        ] = {}  # when the newest outcome of each partition was seen, in seconds

    def run(self) -> None:
        """Read until `stop`."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": READER,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
            | QUICK_TO_NOTICE
        )
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for topic, p in self._places])
        try:
            while not self._stopping.is_set():
                for message in consumer.consume(_BATCH, _POLL_SECONDS):
                    self._take(message)
        except Exception as failure:  # noqa: BLE001  raised again by `has_read`
            self._failure = failure
        finally:
            consumer.close()

    def has_read(self, ends: Mapping[Partition, int]) -> bool:
        """Whether everything before the ends has been read.

        Raises: what ended the thread.
        """
        self.raise_failure()
        return all(self._ended_at.get(place, 0) >= end for place, end in ends.items())

    def raise_failure(self) -> None:
        """Raise here what ended the thread; as `has_read`."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            outcome = outcome_of(message, self._dead_letters)
            self.keys.add(outcome.key)
            self.newest_at[outcome.partition] = outcome.at
            self.outcomes.append(outcome)
        elif error.code() == KafkaError._PARTITION_EOF:
            place = (str(message.topic()), int(message.partition() or 0))
            self._ended_at[place] = int(message.offset() or 0)


def stored(bootstrap_servers: str, topic: str, partitions: int) -> Iterator[Stored]:
    """Every record of a topic without transactions, up to the ends as they are now.

    Raises:
        KafkaException: the brokers did not answer.
    """
    ends = ends_of(bootstrap_servers, [topic], partitions)
    left = {partition for (_, partition), end in ends.items() if end > 0}
    heard_at = time.monotonic()
    with consumer(bootstrap_servers) as reading:
        reading.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
        while left:
            messages = [m for m in reading.consume(_BATCH, _POLL_SECONDS) if m.error() is None]
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() > heard_at + ADMIN_SECONDS:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            for message in messages:
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None
                digest = digest_of(bytes_of(message.value()))
                yield Stored(bytes_of(message.key()), digest, partition, offset)
                if offset + 1 >= ends[topic, partition]:
                    left.discard(partition)


def outcome_of(message: Message, dead_letters: str) -> Outcome:
    """The outcome in a record of either topic of results; without a source where the record is malformed."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    key, value = bytes_of(message.key()), bytes_of(message.value())
    digest = digest_of(value)
    now, stored_at = time.monotonic(), message.timestamp()[1] / 1_000
    if message.topic() == dead_letters:
        source = _place_of(dict(headers_of(message)).get("marquee.source"))
        return Outcome("dead letter", partition, offset, key, source, digest, at=now, stored_at=stored_at)
    source, event_id, release, collection = _said(value)
    return Outcome(
        "recommendation",
        partition,
        offset,
        key,
        source,
        digest,
        event_id,
        release,
        collection,
        at=now,
        stored_at=stored_at,
    )


def bytes_of(text: str | bytes | None) -> bytes | None:
    """The bytes of a value that the client's types call text."""
    return text.encode() if isinstance(text, str) else text


def digest_of(value: bytes | None) -> bytes | None:
    """sha256 of a record's value, None where it has none."""
    return None if value is None else hashlib.sha256(value).digest()


def _said(value: bytes | None) -> tuple[Source | None, str | None, str | None, str | None]:
    """Source, event, release and collection of a recommendation; None of each where it is malformed."""
    try:
        said = json.loads(value or b"")
        place = said["source"]
        source = (str(place["topic"]), int(place["partition"]), int(place["offset"]))
        return source, str(said["event_id"]), str(said["release"]), str(said["collection"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, None, None, None


def _place_of(header: str | bytes | None) -> Source | None:
    """The source of a dead letter; None where it is malformed."""
    try:
        text = header.decode() if isinstance(header, bytes) else str(header)
        topic, partition, offset = text.rsplit("-", 2)
        return topic, int(partition), int(offset)
    except ValueError:
        return None

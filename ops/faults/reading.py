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
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    MemberAssignment,
)

from ops.faults.checker import Outcome
from schemas.watermarks import watermarks

Place = tuple[str, int]  # topic and partition
_BATCH = 1_000
_POLL_SECONDS = 0.2
_ADMIN_SECONDS = 30.0
# A node that says nothing must hold up neither the load nor the reader: gaps are to be the worker's.
SOCKET_TIMEOUT_MS = 3_000


class Stored(NamedTuple):
    """A record of the topic of events: `digest` is its value's sha256, `made_at` its timestamp in seconds."""

    key: bytes
    partition: int
    offset: int
    digest: bytes | None
    made_at: float

    @staticmethod
    def of(message: Message) -> "Stored":
        partition, offset, key, value = message.partition(), message.offset(), message.key(), message.value()
        assert partition is not None and offset is not None
        key = key.encode() if isinstance(key, str) else key
        value = value.encode() if isinstance(value, str) else value
        return Stored(key or b"", partition, offset, digest_of(value), message.timestamp()[1] / 1_000)


class CommittedReader(threading.Thread):
    """Reads the committed records of two topics from the beginning, until it has come to the ends that it is told."""

    def __init__(
        self, bootstrap_servers: str, recommendations: str, dead_letters: str, partitions: int
    ) -> None:
        super().__init__(name="committed-reader", daemon=True)
        self._dead_letters = dead_letters
        self._places = [(topic, p) for topic in (recommendations, dead_letters) for p in range(partitions)]
        self._bootstrap_servers = bootstrap_servers
        self._ended_at: dict[Place, int] = {}
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self.outcomes: list[Outcome] = []
        self.keys: set[bytes] = set()
        self.newest_at: dict[
            int, float
        ] = {}  # when the newest outcome of each partition was seen, in seconds

    def run(self) -> None:
        """Read until told to stop."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": "marquee-faults",  # the client asks for one; nothing is committed under it
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                "socket.timeout.ms": SOCKET_TIMEOUT_MS,
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for topic, p in self._places])
        try:
            while not self._stopping.is_set():
                for message in consumer.consume(_BATCH, _POLL_SECONDS):
                    self._take(message)
        except Exception as failure:  # noqa: BLE001  raised again by whoever waits for the records
            self._failure = failure
        finally:
            consumer.close()

    def has_read(self, ends: Mapping[Place, int]) -> bool:
        """Whether everything before the ends has been read.

        Raises:
            ValueError, KeyError: a record is not what the contract says; the reader ended there.
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
            outcome = self._read(message)
            self.keys.add(outcome.key or b"")
            self.newest_at[outcome.partition] = outcome.at
            self.outcomes.append(outcome)
        elif error.code() == KafkaError._PARTITION_EOF:
            place = (str(message.topic()), int(message.partition() or 0))
            self._ended_at[place] = int(message.offset() or 0)

    def _read(self, message: Message) -> Outcome:
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        key, value = message.key(), message.value()
        key = key.encode() if isinstance(key, str) else key
        value = value.encode() if isinstance(value, str) else value
        digest = digest_of(value)
        now, stored_at = time.monotonic(), message.timestamp()[1] / 1_000
        if message.topic() == self._dead_letters:
            headers = dict(message.headers() or [])
            source = _place_of(headers["marquee.source"])
            return Outcome("dead letter", partition, offset, key, source, digest, at=now, stored_at=stored_at)
        said = json.loads(value or b"")
        place = said["source"]
        return Outcome(
            "recommendation",
            partition,
            offset,
            key,
            (place["topic"], place["partition"], place["offset"]),
            digest,
            said["event_id"],
            said["release"],
            said["collection"],
            at=now,
            stored_at=stored_at,
        )


def digest_of(value: bytes | None) -> bytes | None:
    """sha256 of a record's value, None where it has none."""
    return None if value is None else hashlib.sha256(value).digest()


def ends_of(bootstrap_servers: str, topics: list[str], partitions: int) -> dict[Place, int]:
    """The offset after the last record of each partition, committed or not.

    Raises:
        KafkaException: the brokers did not tell.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "marquee-faults",  # the client asks for one
            "isolation.level": "read_uncommitted",
            "log_level": 0,
        }
    )
    try:
        return {
            (topic, p): watermarks(consumer, TopicPartition(topic, p), _ADMIN_SECONDS)[1]
            for topic in topics
            for p in range(partitions)
        }
    finally:
        consumer.close()


def stored(bootstrap_servers: str, topic: str, partitions: int) -> Iterator[Stored]:
    """Every record of a topic, from the beginning to the ends as they are now.

    Raises:
        KafkaException: the brokers did not tell.
    """
    ends = ends_of(bootstrap_servers, [topic], partitions)
    left = {partition for (_, partition), end in ends.items() if end > 0}
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "marquee-faults",  # as above
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
    try:
        while left:
            for message in consumer.consume(_BATCH, _POLL_SECONDS):
                if message.error() is not None:
                    continue
                record = Stored.of(message)
                yield record
                if record.offset + 1 >= ends[topic, record.partition]:
                    left.discard(record.partition)
    finally:
        consumer.close()


def committed_offsets(bootstrap_servers: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """The offsets that a group has committed, by partition.

    A consumer is asked, and not the admin client: see `ops.lag.group_on`.

    Raises:
        KafkaException: the brokers did not tell.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "log_level": 0})
    try:
        found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], _ADMIN_SECONDS)
    finally:
        consumer.close()
    return {place.partition: place.offset for place in found}


def members_of(bootstrap_servers: str, group: str) -> int:
    """How many members a group has, the dead ones among them that it has not noticed yet.

    Raises:
        KafkaException: the brokers did not tell.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    return len(
        admin.describe_consumer_groups([group], request_timeout=_ADMIN_SECONDS)[group].result().members
    )


def group_state(bootstrap_servers: str, group: str) -> list[str]:
    """Lines that tell what the coordinator thinks of a group: its state, and what each member has and is to have."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        found = admin.describe_consumer_groups([group], request_timeout=_ADMIN_SECONDS)[group].result()
    except KafkaException as error:
        return [f"Group {group}: {error.args[0].str()}."]

    def partitions(assignment: MemberAssignment | None) -> list[int]:
        return sorted(p.partition for p in assignment.topic_partitions) if assignment else []

    return [
        f"Group {group}: {found.state.name}.",
        *(
            f"  {member.member_id}: has {partitions(member.assignment)}, is to have {partitions(member.target_assignment)}"
            for member in found.members
        ),
    ]


def _place_of(header: str | bytes | None) -> tuple[str, int, int]:
    text = header.decode() if isinstance(header, bytes) else str(header)
    topic, partition, offset = text.rsplit("-", 2)
    return topic, int(partition), int(offset)


def longest_gap(outcomes: list[Outcome], partitions: int, since: float, until: float) -> float:
    """The longest time in seconds that a partition had nothing new, of the times that began between two moments."""
    newest = dict.fromkeys(range(partitions), since)
    longest = 0.0
    for outcome in outcomes:
        if outcome.at > since:
            before = newest[outcome.partition]
            if before < until:
                longest = max(longest, outcome.at - before)
            newest[outcome.partition] = outcome.at
    return max(longest, *(until - at for at in newest.values()))

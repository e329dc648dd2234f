"""Reading everything back: a plain read_committed consumer and the json module, and nothing of the worker's or producer's."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

from schemas.kafka import watermarks
from tests.faults.checker import Outcome
from tests.faults.records import bytes_of, digest_of, outcome_of

Place = tuple[str, int]  # topic and partition
_READER = "marquee-faults"  # the client asks for a group; nothing is committed under it
_BATCH = 1_000
_POLL_SECONDS = 0.2
_ADMIN_SECONDS = 30.0
_ASK_SECONDS = 1.0
# A node that says nothing must hold up neither the load nor the reader: gaps are to be the worker's.
QUICK_TO_NOTICE = {
    "reconnect.backoff.max.ms": 1_000,
    "socket.timeout.ms": 3_000,
    "topic.metadata.refresh.interval.ms": 3_000,  # who leads now, which a node that stands still tells nobody
}


class Stored(NamedTuple):
    """A record as its topic holds it; sha256 of its value."""

    key: bytes | None
    digest: bytes | None
    partition: int
    offset: int


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
        self.keys: set[bytes | None] = set()
        self.newest_at: dict[
            int, float
        ] = {}  # when the newest outcome of each partition was seen, in seconds

    def run(self) -> None:
        """Read until told to stop."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": _READER,
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
        except Exception as failure:  # noqa: BLE001  raised again by whoever waits for the records
            self._failure = failure
        finally:
            consumer.close()

    def has_read(self, ends: Mapping[Place, int]) -> bool:
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


@contextmanager
def _consumer(
    bootstrap_servers: str, group: str = _READER, isolation: str = "read_uncommitted"
) -> Iterator[Consumer]:
    """One that sees what is not committed, too, if not told otherwise, and joins and commits nothing."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def ends_of(bootstrap_servers: str, topics: list[str], partitions: int) -> dict[Place, int]:
    """The offset after the last record of each partition, committed or not.

    Raises:
        KafkaException: the brokers did not tell.
    """
    with _consumer(bootstrap_servers) as consumer:
        return {
            (topic, p): watermarks(consumer, TopicPartition(topic, p), _ADMIN_SECONDS)[1]
            for topic in topics
            for p in range(partitions)
        }


def stored(bootstrap_servers: str, topic: str, partitions: int) -> Iterator[Stored]:
    """Every record of a topic without transactions, up to the ends as they are now.

    Raises:
        KafkaException: the brokers did not tell, or said nothing for long.
    """
    ends = ends_of(bootstrap_servers, [topic], partitions)
    left = {partition for (_, partition), end in ends.items() if end > 0}
    heard_at = time.monotonic()
    with _consumer(bootstrap_servers) as consumer:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
        while left:
            messages = [m for m in consumer.consume(_BATCH, _POLL_SECONDS) if m.error() is None]
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() > heard_at + _ADMIN_SECONDS:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            for message in messages:
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None
                digest = digest_of(bytes_of(message.value()))
                yield Stored(bytes_of(message.key()), digest, partition, offset)
                if offset + 1 >= ends[topic, partition]:
                    left.discard(partition)


def committed_offsets(bootstrap_servers: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """The offsets that a group has committed, by partition.

    A consumer is asked, and not the admin client: see `ops.deployment.lag.group_on`.

    Raises:
        KafkaException: the brokers did not tell.
    """
    with _consumer(bootstrap_servers, group) as consumer:
        found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], _ADMIN_SECONDS)
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


def cluster_state(bootstrap_servers: str, prefix: str) -> list[str]:
    """Lines that tell which nodes are there, and what is amiss with partitions, of topics with this prefix or of Kafka's own.

    A partition may have no leader, or replicas that are not in sync; its leader may not answer; an open transaction may keep
    readers of what is committed from its end.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        found = admin.list_topics(timeout=_ADMIN_SECONDS)
    except KafkaException as error:
        return [f"Cluster: {error.args[0].str()}."]
    partitions = [
        (TopicPartition(name, number), partition)
        for name, topic in sorted(found.topics.items())
        if name.startswith((prefix, "__"))
        for number, partition in sorted(topic.partitions.items())
    ]
    with (
        _consumer(bootstrap_servers, isolation="read_committed") as committed,
        _consumer(bootstrap_servers) as everything,
    ):
        ends = [(_end(committed, place), _end(everything, place)) for place, _ in partitions]
    return [
        f"Cluster: nodes {sorted(found.brokers)}.",
        *(
            f"  {place.topic}-{place.partition}: leader {partition.leader}, in sync {partition.isrs} of {partition.replicas}, "
            f"committed up to {end[0]} of {end[1]}"
            for (place, partition), end in zip(partitions, ends, strict=True)
            if partition.leader < 0 or len(partition.isrs) < len(partition.replicas) or end[0] != end[1]
        ),
    ]


def _end(consumer: Consumer, place: TopicPartition) -> int | str:
    try:
        return watermarks(consumer, place, _ASK_SECONDS)[1]
    except KafkaException as error:
        return str(error.args[0].name())


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

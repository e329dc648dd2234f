"""The deployment that every contender works on: real servers, an indexed release, topics, and the offsets of a group."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.local.kafka import LocalKafka
from ops.local.milvus import LocalMilvus
from schemas.errors import MarqueeError
from schemas.settings import Settings, load_settings
from tests.bench.cores import Setup, confine, cores_of
from tests.testbed.aot_cache import ensure_aot_cache
from tests.testbed.indexing import index_newest
from tests.testbed.kafka import ends_of
from tests.testbed.processes import environment_of

Offsets = dict[int, int]  # by partition

_TOPICS_SECONDS = 60.0
_ADMIN_SECONDS = 30.0
# Milvus takes some seven minutes to build the graph of a million movies.
_INDEX_SECONDS = 1_800.0
# A group that was left in order is empty at once; one whose member was killed, after its session.
_EMPTY_SECONDS = 60.0
_QUEUE = 1_000_000
# The default of Marquee's own producers. Without it a broker gets a request for every event, thousands a second, and
# becomes the bottleneck.
_LINGER_MS = 5


class Servers:
    """Kafka and Milvus, and the cores that they have."""

    def __init__(self, kafka: LocalKafka, milvus: LocalMilvus) -> None:
        self.kafka, self.milvus = kafka, milvus
        self._available = frozenset(os.sched_getaffinity(0))

    def arrange(self, setup: Setup) -> None:
        """Move Milvus to its cores, and Kafka and this process with its later children to theirs."""
        cores = cores_of(setup, self._available)
        confine(os.getpid(), cores.others)
        for pid in self.kafka.pids.values():
            confine(pid, cores.others)
        if self.milvus.pid is not None:
            confine(self.milvus.pid, cores.milvus)


@contextmanager
def servers(directory: Path, milvus: LocalMilvus, nodes: int = 1) -> Iterator[Servers]:
    """Kafka of so many nodes beside a Milvus that runs; on all cores again at the end."""
    ensure_aot_cache()  # or Java would still be compiling the brokers while they are measured
    with LocalKafka(directory, nodes=nodes) as kafka:
        both = Servers(kafka, milvus)
        both.arrange("shared")
        try:
            yield both
        finally:
            both.arrange("shared")


@dataclass(frozen=True)
class Deployment:
    """Topics under a prefix of their own, with a release that is indexed and active."""

    settings: Settings
    release: str
    collection: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that give a process these settings."""
        return environment_of(self.settings) | {"MARQUEE_LOG__LEVEL": "WARNING"}

    @property
    def bootstrap_servers(self) -> str:
        return self.settings.kafka.bootstrap_servers

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    @cached_property
    def producer(self) -> Producer:
        """What events are published with: they wait a little for others, as those of any producer with many do."""
        return self._producer(_LINGER_MS)

    @cached_property
    def prompt_producer(self) -> Producer:
        """For events that are far apart: nothing waits for others to share a request with."""
        return self._producer(0)

    def _producer(self, linger_ms: int) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": linger_ms,
                "queue.buffering.max.messages": _QUEUE,
                "log_level": 0,
            }
        )

    def ends(self, topic: str) -> Offsets:
        """The offset after the last record of each partition, committed or not.

        Raises:
            MarqueeError: the broker did not answer; retried while a leader changes, as the leader does that
                was too busy for its heartbeats.
        """
        deadline = time.monotonic() + _ADMIN_SECONDS
        while True:
            try:
                return self._asked_ends(topic)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise MarqueeError(f"the ends of {topic} could not be had: {error}") from error
                time.sleep(0.5)

    def _asked_ends(self, topic: str) -> Offsets:
        found = ends_of(self.bootstrap_servers, [topic], self.settings.kafka.partitions)
        return {partition: end for (_, partition), end in found.items()}

    def publish(self, records: Iterable[tuple[bytes, bytes]], number: int) -> Offsets:
        """Publish the first `number` keys and values, wait until all are on the broker; gives where they begin."""
        topic = self.settings.names.profiles
        begin = self.ends(topic)
        for key, value in islice(records, number):
            self.produce(self.producer, key, value)
        left = self.producer.flush(_TOPICS_SECONDS)
        if left:
            raise MarqueeError(f"{left} events could not be published to {topic}; see Kafka's log")
        return begin

    def produce(self, producer: Producer, key: bytes, value: bytes) -> None:
        """Hand one event over; waits where the queue is full."""
        while True:
            try:
                producer.produce(self.settings.names.profiles, value, key)
                return
            except BufferError:
                producer.poll(0.1)

    def position(self, group: str, offsets: Offsets) -> None:
        """Set the committed offsets of an empty group.

        Raises:
            MarqueeError: the group still has members.
        """
        topic = self.settings.names.profiles
        places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        deadline = time.monotonic() + _EMPTY_SECONDS
        while True:
            asked = [ConsumerGroupTopicPartitions(group, places)]
            try:
                self._admin.alter_consumer_group_offsets(asked, request_timeout=_ADMIN_SECONDS)[
                    group
                ].result()
                return
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise MarqueeError(f"the group {group} could not be moved: {error}") from error
                time.sleep(0.5)

    def committed_reader(self, offsets: Offsets) -> Consumer:
        """A consumer of committed results from these offsets on."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": "marquee-bench-reader",  # the client asks for one; nothing is committed under it
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 5,
                "fetch.queue.backoff.ms": 2,
                "log_level": 0,
            }
        )
        topic = self.settings.names.recommendations
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])
        return consumer


def deploy(
    servers: Servers,
    folder: Path,
    store: str,
    *,
    prefix: str,
    partitions: int = 12,
    extra: Mapping[str, str] | None = None,
) -> Deployment:
    """Make the topics of a new prefix, and have the store's newest release indexed and activated there.

    Raises:
        MarqueeError: the indexer refused it, or did not come that far in time.
    """
    from worker.kafka.topics import ensure_topics

    settings = load_settings(
        prefix=prefix,
        store=store,
        kafka={"bootstrap_servers": servers.kafka.bootstrap_servers, "partitions": partitions},
        milvus={"uri": servers.milvus.uri},
    )
    ensure_topics(settings, _TOPICS_SECONDS)
    empty = Deployment(settings, "", "")
    folder.mkdir(parents=True, exist_ok=True)
    collections = index_newest(settings, folder, empty.environment | dict(extra or {}), _INDEX_SECONDS)
    (name, (collection, *_)), *_ = sorted(collections.items(), reverse=True)
    return Deployment(settings, name, collection)

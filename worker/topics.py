"""The topics of a deployment: creates what is missing, and makes what is there fit (docs/contract.md)."""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from schemas import kafka
from schemas.dead_letter import HEADROOM_BYTES
from schemas.errors import SettingsError, UnreachableError
from schemas.settings import Settings
from schemas.topics import Names

MAX_BYTES = "max.message.bytes"
_COMPACTED = {
    "cleanup.policy": "compact",
    # Compaction leaves the newest segment alone: at the default of a week, every start would read a week of heartbeats.
    "segment.ms": "3600000",
}
_OUTCOMES = _COMPACTED | {
    "cleanup.policy": "compact,delete",
    "retention.ms": "7776000000",  # 90 days of ten minutes each
}
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_CONFIG,
}
# The first attempt at the metadata, each further one twice as long: between two, a refusal is heard of.
_BROWSE_SECONDS = 1.0


@dataclass(frozen=True)
class Topic:
    """A topic as the deployment wants it; `follows` names the one whose partition numbers its records share."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    follows: str | None = None


@dataclass(frozen=True)
class TopicState:
    """A topic as it is."""

    name: str
    partitions: int
    replicas: int
    config: dict[str, str]


def planned_topics(names: Names, partitions: int, profiles_max_bytes: int) -> list[Topic]:
    """Every topic but `profiles`, which has `partitions` partitions and takes records of `profiles_max_bytes`."""
    result = {"message.timestamp.type": "LogAppendTime", MAX_BYTES: str(profiles_max_bytes + HEADROOM_BYTES)}
    return [
        Topic(names.recommendations, partitions, result, follows=names.profiles),
        Topic(names.dead_letters, partitions, result, follows=names.profiles),
        Topic(names.redriven, 1, _COMPACTED),
        Topic(names.release_commands, 1),
        Topic(names.releases, 1, _COMPACTED),
        Topic(names.withdrawals, 1, _COMPACTED),
        Topic(names.feedback, partitions, {"message.timestamp.type": "LogAppendTime"}),
        Topic(names.outcomes, 1, _OUTCOMES),
    ]


def ensure_topics(settings: Settings, timeout_s: float) -> None:
    """Create what is missing and grow what is too small; with `kafka.create_topics` off, only check.

    Raises:
        UnreachableError: Kafka did not answer within `timeout_s`.
        SettingsError: Kafka refused us or a topic, or topics are missing and `kafka.create_topics` is off.
    """
    cluster = _Cluster(settings, timeout_s)
    if not settings.kafka.create_topics:
        _check(settings.names, cluster.topics())
        return
    if settings.names.profiles not in cluster.topics():
        cluster.create([Topic(settings.names.profiles, settings.kafka.partitions)])
    profiles = cluster.describe([settings.names.profiles])[0]
    planned = planned_topics(settings.names, profiles.partitions, int(profiles.config[MAX_BYTES]))
    there = cluster.topics()
    cluster.create([topic for topic in planned if topic.name not in there])
    # The new ones too: another process may have created them meanwhile, with settings of its own.
    for topic, state in zip(planned, cluster.describe([topic.name for topic in planned]), strict=True):
        _fit(cluster, topic, state)


def topic_states(settings: Settings, timeout_s: float) -> list[TopicState]:
    """The deployment's topics that exist, in the order of the design's table. Raises as `ensure_topics`."""
    cluster = _Cluster(settings, timeout_s)
    there = cluster.topics()
    return cluster.describe([name for name in _all_names(settings.names) if name in there])


def _all_names(names: Names) -> list[str]:
    return [names.profiles, *(topic.name for topic in planned_topics(names, 1, 0))]


def _check(names: Names, there: Mapping[str, int]) -> None:
    missing = [name for name in _all_names(names) if name not in there]
    if missing:
        raise SettingsError(
            f"topics are missing (or may not be seen): {', '.join(missing)}; create them with `marquee topics`, "
            "or set MARQUEE_KAFKA__CREATE_TOPICS=true"
        )
    for name in (names.recommendations, names.dead_letters):
        if there[name] < there[names.profiles]:
            raise SettingsError(
                f"{name} has {there[name]} partitions and {names.profiles} has {there[names.profiles]}; "
                "give it as many, because a result goes to its event's partition number"
            )


def _fit(cluster: "_Cluster", topic: Topic, state: TopicState) -> None:
    if topic.follows and state.partitions < topic.partitions:
        cluster.grow(topic.name, topic.partitions)
    if MAX_BYTES in topic.config and int(state.config[MAX_BYTES]) < int(topic.config[MAX_BYTES]):
        cluster.configure(topic.name, MAX_BYTES, topic.config[MAX_BYTES])


class _Cluster:
    """The admin calls that are needed, under one deadline."""

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        self._settings = settings.kafka
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._refused: KafkaError | None = None
        try:
            self._admin = AdminClient(kafka.admin(settings.kafka, {"error_cb": self._note, "log_level": 0}))
        except KafkaException as error:  # the first client of every process, so the one to find this out
            raise SettingsError(
                f"the Kafka client refuses its settings ({error.args[0].str()}); check the MARQUEE_KAFKA__… settings"
            ) from None

    def topics(self) -> dict[str, int]:
        """Every topic that may be seen, with its number of partitions."""
        return {name: len(topic.partitions) for name, topic in self._seen().items()}

    def _seen(self) -> dict[str, TopicMetadata]:
        """What the broker that happens to be asked knows; another of the cluster may know less."""
        attempt_s = _BROWSE_SECONDS
        while True:
            try:
                return self._admin.list_topics(timeout=min(self._left(), attempt_s)).topics
            except KafkaException as error:
                self._raise_if_over(error.args[0])
                attempt_s *= 2

    def _seen_all(self, names: Collection[str]) -> dict[str, TopicMetadata]:
        """The same, once it holds all of these with their partitions."""
        while True:
            seen = {name: topic for name, topic in self._seen().items() if topic.partitions}
            if seen.keys() >= set(names):
                return seen
            self._raise_if_over(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

    def create(self, topics: list[Topic]) -> None:
        """Create topics and wait until a broker knows them; one that exists by now is as good."""
        if not topics:
            return
        replicas = self._settings.replication_factor
        new = [
            NewTopic(t.name, num_partitions=t.partitions, replication_factor=replicas, config=t.config)
            for t in topics
        ]
        self._wait(
            lambda: self._admin.create_topics(new, request_timeout=self._left()),
            fine=KafkaError.TOPIC_ALREADY_EXISTS,
        )
        self._seen_all([topic.name for topic in topics])

    def grow(self, name: str, partitions: int) -> None:
        """Give a topic more partitions."""
        new = [NewPartitions(name, partitions)]
        self._wait(
            lambda: self._admin.create_partitions(new, request_timeout=self._left()),
            fine=KafkaError.INVALID_PARTITIONS,
        )

    def configure(self, name: str, option: str, value: str) -> None:
        """Set one option of a topic, and leave the others."""
        entry = ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
        self._wait(lambda: self._admin.incremental_alter_configs([resource], request_timeout=self._left()))

    def describe(self, names: list[str]) -> list[TopicState]:
        """Partitions, replicas and configuration of topics that exist."""
        if not names:
            return []
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        configs = self._wait(lambda: self._admin.describe_configs(resources, request_timeout=self._left()))
        seen = self._seen_all(names)
        return [
            TopicState(
                name,
                partitions=len(seen[name].partitions),
                replicas=len(seen[name].partitions[0].replicas),
                config={option: entry.value for option, entry in config.items()},
            )
            for name, config in zip(names, configs, strict=True)
        ]

    def _wait(self, call: Callable[[], Mapping[Any, Future[Any]]], fine: int | None = None) -> list[Any]:
        """Results of an admin call, tried again while Kafka is away; the error code `fine` counts as done."""
        while True:
            results = []
            try:
                for future in call().values():
                    try:
                        results.append(future.result())
                    except KafkaException as error:
                        if error.args[0].code() != fine:
                            raise
            except KafkaException as error:
                self._raise_if_over(error.args[0])
            else:
                return results

    def _note(self, error: KafkaError) -> None:
        if kafka.refuses_us(error):
            self._refused = error

    def _left(self) -> float:
        return max(0.1, self._deadline - time.monotonic())

    def _raise_if_over(self, error: KafkaError) -> None:
        """Return, a moment later, where another attempt may help and there is time for it."""
        self._admin.poll(0)
        where = f"Kafka at {self._settings.bootstrap_servers}"
        if self._refused or kafka.refuses_us(error):
            raise SettingsError(
                f"{where} refused who we are ({(self._refused or error).str()}); check the MARQUEE_KAFKA__SASL_… "
                "and MARQUEE_KAFKA__SSL_… settings"
            )
        if error.code() in _REFUSED:
            raise SettingsError(
                f"{where} refused what a topic needs ({error.str()}); grant the right, or have the topics created "
                "by their owner and set MARQUEE_KAFKA__CREATE_TOPICS=false"
            )
        if time.monotonic() >= self._deadline:
            raise UnreachableError(
                f"{where} did not answer within {self._timeout_s:g} s ({error.str()}); start it, or set "
                "MARQUEE_KAFKA__BOOTSTRAP_SERVERS to where it is"
            )
        time.sleep(min(0.1, self._left()))

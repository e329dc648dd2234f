"""Kafka's admin calls about topics, under one deadline: tried again while Kafka is away, and refused in one sentence."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
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
from schemas.errors import SettingsError, UnreachableError
from schemas.settings import Settings
from schemas.topics import MAX_BYTES

log = logging.getLogger(__name__)

_VALUE_REFUSED = {KafkaError.POLICY_VIOLATION, KafkaError.INVALID_CONFIG}
_REFUSED = _VALUE_REFUSED | {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_PARTITIONS,
}
_UNSEEN = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART}
# The first attempt at the metadata, each further one twice as long: between two, a refusal is heard of.
_BROWSE_SECONDS = 1.0


class ValueRefusedError(SettingsError):
    """The broker, or its provider's policy, refused the value of an option of a topic."""


@dataclass(frozen=True)
class NewState:
    """A topic to be created."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicState:
    """A topic as it is; `config` is empty where this client may not read it."""

    name: str
    partitions: int
    replicas: int
    config: dict[str, str]


class Cluster:
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

    def create(self, topics: list[NewState], sizes: Iterable[str]) -> None:
        """Create topics and wait until a broker knows them; one that exists by now is as good.

        Where a provider refuses `max.message.bytes`, try each of `sizes`, then the broker's default.
        """
        if not topics:
            return
        try:
            self._create(topics)
        except ValueRefusedError as refusal:
            if not any(MAX_BYTES in topic.config for topic in topics):
                raise
            self._create_smaller(topics, [*sizes, None], refusal)
        self._seen_all([topic.name for topic in topics])

    def _create_smaller(
        self, topics: list[NewState], sizes: list[str | None], refusal: ValueRefusedError
    ) -> None:
        for size in sizes:
            try:
                self._create([_with_size(topic, size) for topic in topics])
            except ValueRefusedError:
                continue
            log.warning("%s; created with max.message.bytes=%s", refusal, size or "the broker's default")
            return
        raise refusal

    def _create(self, topics: list[NewState]) -> None:
        replicas = self._settings.replication_factor
        new = [
            NewTopic(t.name, num_partitions=t.partitions, replication_factor=replicas, config=t.config)
            for t in topics
        ]
        self._wait(
            lambda: self._admin.create_topics(new, request_timeout=self._left()),
            fine=KafkaError.TOPIC_ALREADY_EXISTS,
        )

    def grow(self, name: str, partitions: int) -> None:
        """Give a topic more partitions."""
        new = [NewPartitions(name, partitions)]
        self._wait(
            lambda: self._admin.create_partitions(new, request_timeout=self._left()),
            fine=KafkaError.INVALID_PARTITIONS,
        )
        self._wait_until(lambda: self.topics().get(name, 0) >= partitions)

    def configure(self, name: str, option: str, value: str) -> None:
        """Set one option of a topic, and leave the others."""
        entry = ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
        self._wait(lambda: self._admin.incremental_alter_configs([resource], request_timeout=self._left()))
        self._wait_until(
            lambda: all(state.config.get(option) in (None, value) for state in self.look([name]))
        )

    def enlarge(self, name: str, sizes: Iterable[str]) -> str | None:
        """Set the first of these `max.message.bytes` that the broker, or its provider's policy, allows; which it was."""
        for size in sizes:
            try:
                self.configure(name, MAX_BYTES, size)
            except ValueRefusedError as refusal:
                log.warning("%s; %s may not take records of %s bytes", refusal, name, size)
            else:
                return size
        return None

    def look(self, names: Collection[str]) -> list[TopicState]:
        """Those of these topics that may be seen, as they are; asks for these alone, however many the cluster has."""
        found = self._each(
            lambda: self._admin.describe_topics(TopicCollection(list(names)), request_timeout=self._left())
        )
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in found]
        if not resources:
            return []
        configs = self._each(
            lambda: {
                resource.name: future
                for resource, future in self._admin.describe_configs(
                    resources, request_timeout=self._left()
                ).items()
            }
        )
        return [
            TopicState(
                name,
                partitions=len(topic.partitions),
                replicas=len(topic.partitions[0].replicas),
                config={option: entry.value for option, entry in configs.get(name, {}).items()},
            )
            for name, topic in found.items()
        ]

    def _each(self, call: Callable[[], Mapping[str, Future[Any]]]) -> dict[str, Any]:
        """Results of an admin call by topic, without the topics that are not there or that may not be looked at."""
        while True:
            results = {}
            try:
                for name, future in call().items():
                    try:
                        results[name] = future.result()
                    except KafkaException as error:
                        if error.args[0].code() not in _UNSEEN:
                            raise
            except KafkaException as error:
                self._raise_if_over(error.args[0])
            else:
                return results

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

    def _wait_until(self, seen: Callable[[], bool]) -> None:
        """Wait for a broker to show what the controller has taken, a moment later."""
        while not seen() and time.monotonic() < self._deadline:
            time.sleep(0.05)

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
        if error.code() == KafkaError.TOPIC_EXCEPTION:
            raise SettingsError(
                f"{where} refused the name of a topic ({error.str()}); set MARQUEE_PREFIX to one that no other "
                "topic resembles: Kafka's metrics cannot tell `.` from `_`"
            )
        if error.code() in _VALUE_REFUSED:
            raise ValueRefusedError(
                f"{where} refused what a topic needs ({error.str()}); allow it, or have the topics created "
                "by their owner and set MARQUEE_KAFKA__CREATE_TOPICS=false"
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


def _with_size(topic: NewState, size: str | None) -> NewState:
    config = {option: value for option, value in topic.config.items() if option != MAX_BYTES}
    if size is not None and MAX_BYTES in topic.config:
        config[MAX_BYTES] = size
    return NewState(topic.name, topic.partitions, config)

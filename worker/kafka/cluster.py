"""Admin calls about topics, under one deadline: retried while Kafka is away, and refused in one sentence."""

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
from worker.kafka.errors import Next, rule
from worker.monitoring.waiting import Deadline

log = logging.getLogger(__name__)

_UNSEEN = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART})
# The first look-up of the metadata, each further one twice as long: a refusal is reported between two.
_BROWSE_SECONDS = 1.0
_CREATED_BY_OWNER = (
    "grant the right, or have the topics created by their owner and set MARQUEE_KAFKA__CREATE_TOPICS=false"
)


class ValueRefusedError(SettingsError):
    """The broker, or its provider's policy, refuses the value of a topic's option: try another."""


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
    """One admin client, and the deadline of all its calls."""

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        self._settings = settings.kafka
        self._where = f"Kafka at {settings.kafka.bootstrap_servers}"
        self._timeout_s = timeout_s
        self._deadline = Deadline(timeout_s)
        self._refused: KafkaError | None = None
        try:
            self._admin = AdminClient(kafka.admin(settings.kafka, {"error_cb": self._note, "log_level": 0}))
        except KafkaException as error:  # the first client of every process finds this out
            raise SettingsError(
                f"the Kafka client refuses its settings ({error.args[0].str()}); check the MARQUEE_KAFKA__… settings"
            ) from None

    def topics(self) -> dict[str, int]:
        """Every topic that may be seen, with its number of partitions."""
        return {name: len(topic.partitions) for name, topic in self._seen().items()}

    def create(self, topics: list[NewState], sizes: Iterable[str]) -> None:
        """Create topics and wait until a broker knows them; a topic that exists by now is as good.

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

    def grow(self, name: str, partitions: int) -> None:
        """Give a topic more partitions."""
        new = [NewPartitions(name, partitions)]
        self._results(
            lambda: self._admin.create_partitions(new, request_timeout=self._left()),
            frozenset({KafkaError.INVALID_PARTITIONS}),  # it has as many by now
        )
        self._wait_until(lambda: self.topics().get(name, 0) >= partitions)

    def configure(self, name: str, option: str, value: str) -> None:
        """Set one option of a topic, and leave the others."""
        entry = ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
        self._results(lambda: self._admin.incremental_alter_configs([resource], request_timeout=self._left()))
        self._wait_until(
            lambda: all(state.config.get(option) in (None, value) for state in self.look([name]))
        )

    def enlarge(self, name: str, sizes: Iterable[str]) -> str | None:
        """Set the first of these `max.message.bytes` that the broker, or its provider's policy, allows; return it."""
        for size in sizes:
            try:
                self.configure(name, MAX_BYTES, size)
            except ValueRefusedError as refusal:
                log.warning("%s; %s may not take records of %s bytes", refusal, name, size)
            else:
                return size
        return None

    def look(self, names: Collection[str]) -> list[TopicState]:
        """The state of those of these topics that may be seen; other topics of the cluster cost nothing."""
        topics = TopicCollection(list(names))
        found = self._results(
            lambda: self._admin.describe_topics(topics, request_timeout=self._left()), _UNSEEN
        )
        configs = self._configs(found, _UNSEEN)
        return [_state(name, topic, configs.get(name, {})) for name, topic in found.items()]

    def describe(self, names: Collection[str]) -> list[TopicState]:
        """The state of topics that exist."""
        configs, seen = self._configs(names), self._seen_all(names)
        return [_state(name, seen[name], configs[name]) for name in names]

    def _seen(self) -> dict[str, TopicMetadata]:
        """The topics that one broker knows; another broker of the cluster may know fewer."""
        attempt_s = _BROWSE_SECONDS
        while True:
            try:
                return self._admin.list_topics(timeout=min(self._left(), attempt_s)).topics
            except KafkaException as error:
                self._raise_or_pause(error.args[0])
                attempt_s *= 2

    def _seen_all(self, names: Collection[str]) -> dict[str, TopicMetadata]:
        """The same, once it contains all of these with their partitions."""
        while True:
            seen = {name: topic for name, topic in self._seen().items() if topic.partitions}
            if seen.keys() >= set(names):
                return seen
            self._raise_or_pause(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))

    def _configs(
        self, names: Collection[str], passed_over: frozenset[int] = frozenset()
    ) -> dict[str, dict[str, ConfigEntry]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found = self._results(
            lambda: self._admin.describe_configs(resources, request_timeout=self._left()), passed_over
        )
        return {resource.name: config for resource, config in found.items()}

    def _create(self, topics: list[NewState]) -> None:
        replicas = self._settings.replication_factor
        new = [
            NewTopic(t.name, num_partitions=t.partitions, replication_factor=replicas, config=t.config)
            for t in topics
        ]
        self._results(
            lambda: self._admin.create_topics(new, request_timeout=self._left()),
            frozenset({KafkaError.TOPIC_ALREADY_EXISTS}),
        )

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

    def _results(
        self, call: Callable[[], Mapping[Any, Future[Any]]], passed_over: frozenset[int] = frozenset()
    ) -> dict[Any, Any]:
        """Results of an admin call, retried while Kafka is away, without those that fail with a code that is passed over."""
        while True:
            try:
                return _without(call(), passed_over)
            except KafkaException as error:
                self._raise_or_pause(error.args[0])

    def _wait_until(self, seen: Callable[[], bool]) -> None:
        """Wait until a broker shows the controller's change, which takes a moment."""
        while not seen() and not self._deadline.passed:
            time.sleep(0.05)

    def _note(self, error: KafkaError) -> None:
        if kafka.refuses_us(error):
            self._refused = error

    def _left(self) -> float:
        return max(0.1, self._deadline.left)

    def _raise_or_pause(self, error: KafkaError) -> None:
        """Raise an error that no retry resolves; else return after a pause.

        Raises:
            SettingsError: Kafka refuses this client, or a topic.
            ValueRefusedError: Kafka refuses the value of an option.
            UnreachableError: the deadline passed.
        """
        self._admin.poll(0)
        if self._refused or kafka.refuses_us(error):
            raise SettingsError(
                f"{self._where} refused the credentials ({(self._refused or error).str()}); check the MARQUEE_KAFKA__SASL_… "
                "and MARQUEE_KAFKA__SSL_… settings"
            )
        found = rule(error)
        if Next.OTHER_VALUE in found.next:
            raise ValueRefusedError(
                f"{self._where} refused a topic or its settings ({error.str()}); {found.remedy}"
            )
        if Next.EXIT in found.next:
            remedy = found.remedy if error.code() == KafkaError.TOPIC_EXCEPTION else _CREATED_BY_OWNER
            raise SettingsError(f"{self._where} refused a topic or its settings ({error.str()}); {remedy}")
        if self._deadline.passed:
            raise UnreachableError(
                f"{self._where} did not answer within {self._timeout_s:g} s ({error.str()}); start it, or set "
                "MARQUEE_KAFKA__BOOTSTRAP_SERVERS to where it is"
            )
        time.sleep(0.1)


def _without(futures: Mapping[Any, Future[Any]], passed_over: frozenset[int]) -> dict[Any, Any]:
    results = {}
    for name, future in futures.items():
        try:
            results[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() not in passed_over:
                raise
    return results


def _state(name: str, topic: Any, config: Mapping[str, Any]) -> TopicState:
    return TopicState(
        name,
        partitions=len(topic.partitions),
        replicas=len(topic.partitions[0].replicas),
        config={option: entry.value for option, entry in config.items()},
    )


def _with_size(topic: NewState, size: str | None) -> NewState:
    config = {option: value for option, value in topic.config.items() if option != MAX_BYTES}
    if size is not None and MAX_BYTES in topic.config:
        config[MAX_BYTES] = size
    return NewState(topic.name, topic.partitions, config)

"""Topics of a cluster whose brokers know a new one at different moments."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.settings import load_settings
from schemas.topics import MAX_BYTES
from worker.kafka import cluster
from worker.kafka.topics import ensure_topics


def done(result: Any) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(result)
    return future


class TwoBrokers:
    """An admin client that asks one broker and the other by turns; the second knows a topic, and then its partitions, later."""

    def __init__(self, _config: dict[str, Any]) -> None:
        self.partitions: dict[str, int] = {}
        self.asked = 0

    def poll(self, _timeout: float) -> None: ...

    def list_topics(self, timeout: float) -> SimpleNamespace:  # noqa: ARG002  the client's name for it
        self.asked += 1
        whole = {number: SimpleNamespace(replicas=[1, 2, 3]) for number in range(12)}
        known: dict[str, Any] = {
            name: SimpleNamespace(partitions=dict(list(whole.items())[:count]))
            for name, count in self.partitions.items()
        }
        if self.asked % 2 == 0 and self.asked < 8:
            newest = list(known)[-1:]
            known = {name: topic for name, topic in known.items() if name not in newest}
            if self.asked >= 6:
                known |= {name: SimpleNamespace(partitions={}) for name in newest}
        return SimpleNamespace(topics=known)

    def create_topics(self, new: list[Any], request_timeout: float) -> dict[str, "Future[Any]"]:  # noqa: ARG002
        self.partitions |= {topic.topic: topic.num_partitions for topic in new}
        return {topic.topic: done(None) for topic in new}

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, "Future[Any]"]:  # noqa: ARG002
        sizes = {
            resource: "1000" if resource.name.endswith("profiles") else "99999999" for resource in resources
        }
        return {resource: done({MAX_BYTES: SimpleNamespace(value=size)}) for resource, size in sizes.items()}


class Ceiling(TwoBrokers):
    """A provider that takes no records above 1000 bytes, neither at creation nor later."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.sizes: dict[str, str] = {}

    def _answer(self, name: str, size: str | None) -> "Future[Any]":
        if size is not None and int(size) > 1_000:
            refused: Future[Any] = Future()
            refused.set_exception(
                KafkaException(KafkaError(KafkaError.POLICY_VIOLATION, "max.message.bytes"))
            )
            return refused
        self.sizes[name] = size or "1000"
        return done(None)

    def list_topics(self, timeout: float) -> SimpleNamespace:
        self.asked = 8
        return super().list_topics(timeout)

    def create_topics(self, new: list[Any], request_timeout: float) -> dict[str, "Future[Any]"]:  # noqa: ARG002
        answers = {topic.topic: self._answer(topic.topic, topic.config.get(MAX_BYTES)) for topic in new}
        self.partitions |= {topic.topic: topic.num_partitions for topic in new if topic.topic in self.sizes}
        return answers

    def incremental_alter_configs(
        self,
        resources: list[Any],
        request_timeout: float,  # noqa: ARG002
    ) -> dict[str, "Future[Any]"]:
        entries = {resource.name: resource.incremental_configs[0] for resource in resources}
        return {name: self._answer(name, entry.value) for name, entry in entries.items()}

    def describe_topics(self, topics: Any, request_timeout: float) -> dict[str, "Future[Any]"]:  # noqa: ARG002
        return {}

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, "Future[Any]"]:  # noqa: ARG002
        return {
            resource: done({MAX_BYTES: SimpleNamespace(value=self.sizes[resource.name])})
            for resource in resources
        }


def test_a_ceiling_on_the_size_of_records_is_kept_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a provider that refuses 64 KiB more than profiles takes, on new topics and on those that are there."""
    made: list[Ceiling] = []

    def client(config: dict[str, Any]) -> Ceiling:
        made.append(Ceiling(config))
        if len(made) > 1:
            made[-1].partitions = dict(made[0].partitions)
            made[-1].sizes = made[0].sizes | {"marquee.dead-letters": "500"}
        return made[-1]

    monkeypatch.setattr(cluster, "AdminClient", client)

    ensure_topics(load_settings(), timeout_s=20.0)
    assert made[0].sizes["marquee.dead-letters"] == "1000"
    assert "created with max.message.bytes=1000" in caplog.text

    ensure_topics(load_settings(), timeout_s=20.0)
    assert made[1].sizes["marquee.dead-letters"] == "1000"
    assert "marquee.dead-letters may not take records of 66536 bytes" in caplog.text


def test_a_broker_that_does_not_know_a_new_topic_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TwoBrokers] = []

    def client(config: dict[str, Any]) -> TwoBrokers:
        made.append(TwoBrokers(config))
        return made[-1]

    monkeypatch.setattr(cluster, "AdminClient", client)
    settings = load_settings()

    ensure_topics(settings, timeout_s=20.0)

    assert len(made[0].partitions) == 9
    assert made[0].asked > 6

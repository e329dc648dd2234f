"""Topics of a cluster whose brokers learn of a new one at different moments."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.settings import load_settings
from worker import topics
from worker.topics import MAX_BYTES, ensure_topics


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


def test_a_broker_that_does_not_know_a_new_topic_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TwoBrokers] = []

    def client(config: dict[str, Any]) -> TwoBrokers:
        made.append(TwoBrokers(config))
        return made[-1]

    monkeypatch.setattr(topics, "AdminClient", client)
    settings = load_settings()

    ensure_topics(settings, timeout_s=20.0)

    assert len(made[0].partitions) == 9
    assert made[0].asked > 6

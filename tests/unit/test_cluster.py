"""A topic that a broker does not know yet: one of several may hear of it later, a single one never."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from producer.cluster import Refusal, partitions
from schemas.errors import MarqueeError
from schemas.settings import load_settings


class Cluster:
    """Tells the topic from the given question on."""

    def __init__(self, brokers: int, known_from: float) -> None:
        self.brokers, self.known_from, self.asked = brokers, known_from, 0

    def list_topics(self, topic: str | None = None, timeout: float = 0.0) -> Any:
        assert topic is None
        assert timeout > 0
        self.asked += 1
        known = {"t": SimpleNamespace(partitions={0: None, 1: None})} if self.asked >= self.known_from else {}
        return SimpleNamespace(topics=known, brokers=dict.fromkeys(range(self.brokers)))

    def poll(self, timeout: float = 0.0) -> None: ...


@pytest.fixture(autouse=True)
def _sleep(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)


def ask(cluster: Cluster) -> dict[str, int]:
    return partitions(cast(Any, cluster), load_settings().kafka, ["t"], Refusal(), timeout_s=60.0)


def test_one_of_several_brokers_is_given_its_time() -> None:
    assert ask(Cluster(brokers=3, known_from=9)) == {"t": 2}


@pytest.mark.parametrize(("brokers", "at_most"), [(1, 1), (3, 60)])
def test_a_topic_that_is_not_there_is_named(brokers: int, at_most: int) -> None:
    cluster = Cluster(brokers, known_from=float("inf"))

    with pytest.raises(MarqueeError, match="has no topic t "):
        ask(cluster)

    assert cluster.asked <= at_most

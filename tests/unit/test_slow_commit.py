"""A commit for which a broker had not answered in time: the producer that remembers that broker is not used again."""

import time
from typing import Any

import pytest

from schemas.settings import load_settings
from worker.kafka import producer
from worker.stream.publisher import Publisher


class Member:
    """A consumer whose group has nothing to say."""

    def consumer_group_metadata(self) -> object:
        return object()

    def memberid(self) -> str:
        return "us"


class SlowProducer:
    """A transactional producer whose commits take as long as the test says."""

    made = 0
    commit_seconds = 0.0

    def __init__(self, _config: dict[str, Any]) -> None:
        type(self).made += 1

    def init_transactions(self, _timeout: float) -> None: ...

    def begin_transaction(self) -> None: ...

    def poll(self, _timeout: float) -> None: ...

    def send_offsets_to_transaction(self, *_: object) -> None: ...

    def commit_transaction(self, _timeout: float) -> None:
        now[0] += self.commit_seconds


now = [100.0]


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(producer, "Producer", SlowProducer)
    monkeypatch.setattr(SlowProducer, "made", 0)
    return Publisher(load_settings(kafka={"client": {"socket.timeout.ms": 2_000}}), "w", Member())  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "producers"), [(0.01, 1), (1.9, 1), (2.0, 3), (3.5, 3)])
def test_another_takes_the_id_after_a_commit_as_long_as_a_request_may_be(
    publisher: Publisher, seconds: float, producers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlowProducer, "commit_seconds", seconds)

    for _ in range(3):
        publisher.publish([], lambda: True)

    assert SlowProducer.made == producers

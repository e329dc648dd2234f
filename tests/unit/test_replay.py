"""Where a replay begins and ends is asked for until somebody knows."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from ops.offline.replay import Range, Replayed, replay
from schemas.errors import UnreachableError
from schemas.settings import Settings


class Leaderless:
    """A consumer of one partition that has no leader at first."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def list_topics(self, **_: object) -> SimpleNamespace:
        return SimpleNamespace(topics={Settings().names.profiles: SimpleNamespace(partitions=[0])})

    def get_watermark_offsets(self, _place: object, **_: object) -> tuple[int, int]:
        self.refusals -= 1
        if self.refusals >= 0:
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return 7, 7

    def close(self) -> None:
        pass


def replayed(monkeypatch: pytest.MonkeyPatch, refusals: int, timeout_s: float) -> Replayed:
    monkeypatch.setattr("ops.offline.replay.Consumer", lambda _: Leaderless(refusals))
    nothing = cast(Any, None)
    return replay(Settings(), nothing, Range(start=5), nothing, batch=1, timeout_s=timeout_s)


def test_a_partition_without_a_leader_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert replayed(monkeypatch, refusals=2, timeout_s=60) == Replayed(0, 0, 2)


def test_not_for_longer_than_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreachableError, match="did not answer within"):
        replayed(monkeypatch, refusals=1_000_000, timeout_s=0.3)

"""The reader of the outcomes worker bounds the dead letters that wait for a commit, and commits only positions that it has counted."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from schemas.feedback import OutcomesPositions
from schemas.settings import load_settings
from tests.unit.events import PolledEvent
from worker.outcomes import joining as module
from worker.outcomes.join import Join
from worker.outcomes.joining import Joining
from worker.process import Stopping


def test_large_dead_letters_are_committed_before_the_second_is_over() -> None:
    joining = Joining(load_settings(), Join(1), lambda: None, Stopping(), lambda _: None)
    letter = cast(Message, PolledEvent(b"x" * 2**20, ("marquee.feedback", 0, 1)))
    for _ in range(7):
        joining._take_feedback(letter, new=True)
    assert not joining.full
    joining._take_feedback(letter, new=True)
    assert joining.full
    joining.committed()
    assert (joining.full, joining.letters) == (False, [])


class End(PolledEvent):
    """The end of a partition, as the client reports it."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._PARTITION_EOF)


class Broker:
    """A consumer of two topics with one partition each, which polls the messages in `polled`."""

    def __init__(self) -> None:
        self.polled: list[Message] = []

    def list_topics(self, timeout: float) -> Any:  # noqa: ARG002
        topic = SimpleNamespace(partitions={0: None})
        return SimpleNamespace(topics={"marquee.recommendations": topic, "marquee.feedback": topic})

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002
        return [TopicPartition(partition.topic, 0, 5) for partition in asked]

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def consume(self, *_: object) -> list[Message]:
        polled, self.polled = self.polled, []
        return polled


def test_ends_of_partitions_that_are_met_before_counting_do_not_move_read_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given records that are counted up to offset 7, and go on to offset 900
    broker = Broker()
    monkeypatch.setattr(module, "Consumer", lambda _: broker)
    monkeypatch.setattr(Joining, "_read_topic_ids", lambda _: {})
    joining = Joining(load_settings(), Join(10), lambda: None, Stopping(), lambda _: None)
    counted_to = datetime.fromtimestamp(1_700_000_000, UTC)
    # When the last day is read, and with it the ends of the partitions
    broker.polled = [
        cast(Message, End(at=(topic, 0, 900))) for topic in ("marquee.recommendations", "marquee.feedback")
    ]
    joining.begin(OutcomesPositions(recommendations=[7], feedback=[7], read_to=counted_to), [])
    # Then no record is known to be counted up to the present
    assert joining.positions().read_to == datetime.fromtimestamp(0, UTC)

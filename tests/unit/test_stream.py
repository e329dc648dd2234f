"""What the stream says to its consumer, in which order."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from prometheus_client import CollectorRegistry

from schemas.settings import Settings, load_settings
from worker.kafka.admin import AdminProcess
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.process import Stopping
from worker.serving import Answerer
from worker.stream import offsets as positions
from worker.stream.ends import Reading
from worker.stream.loop import Stream
from worker.stream.publisher import Publisher

PLACES = [TopicPartition("marquee.profiles", 0), TopicPartition("marquee.profiles", 1)]


class Group:
    """A consumer that goes through what happens in its group, one poll after another, and notes what it is told."""

    def __init__(self, *happenings: str) -> None:
        self.told: list[str] = []
        self._happenings = list(happenings)
        self._callbacks: dict[str, Callable[..., None]] = {}
        self._assigned: list[TopicPartition] = []
        self.stop: Callable[[], None] = lambda: None

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:  # noqa: ARG002
        self._callbacks = callbacks

    def consume(self, number: int, timeout: float) -> list[Any]:  # noqa: ARG002
        if self._happenings:
            self._callbacks[f"on_{self._happenings.pop(0)}"](self, PLACES)
        elif self._assigned:
            self.stop()
        return []

    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002
        return [TopicPartition(place.topic, place.partition, 7) for place in places]

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self._assigned += places
        self.told += ["assign"] if places else ["note"]

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        self._assigned = [place for place in self._assigned if place not in places]
        self.told.append("unassign")

    def pause(self, places: list[TopicPartition]) -> None:  # noqa: ARG002
        self.told.append("pause")

    def resume(self, places: list[TopicPartition]) -> None:  # noqa: ARG002
        self.told.append("resume")

    def assignment(self) -> list[TopicPartition]:
        return self._assigned

    def memberid(self) -> str:
        return "member"

    def consumer_group_metadata(self) -> object:
        return object()

    def close(self) -> None: ...

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None: ...


class Answers:
    """Topics of answers in which nothing is."""

    def __init__(self, _settings: Settings) -> None: ...

    def look(self, _partitions: Sequence[int], _seconds: float, _since: object) -> Reading:
        return Reading({}, {}, {})

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "happenings",
    [["assign"], ["assign", "lost", "assign"]],
    ids=["assigned", "lost and assigned again"],
)
def test_what_was_just_assigned_is_neither_paused_nor_resumed(
    happenings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka could drop where to begin, and the partition would stand still (its issues 2190 and 5591)."""
    # Given a group in which this happens
    group = Group(*happenings)
    monkeypatch.setattr(positions, "AnsweredReader", Answers)
    monkeypatch.setattr(AdminProcess, "call", lambda *_, **__: {})
    monkeypatch.setattr(Publisher, "start", lambda _: None)
    settings = load_settings()
    stopping = Stopping()
    group.stop = stopping.set
    # When the stream runs
    Stream(
        settings,
        "worker",
        object.__new__(Answerer),
        lambda: None,
        lambda: None,
        Health(),
        Metrics(CollectorRegistry()),
        Latest(),
        stopping,
        connect=lambda _: group,
    ).run()
    # Then nothing is assigned inside the callback, and nothing is said about a pause from an assignment on until the next
    assert group.told.count("note") == happenings.count("assign")
    assert group.told.count("assign") == 1
    assert not any(
        first == "assign" and then in {"pause", "resume"}
        for first, then in zip(group.told, group.told[1:], strict=False)
    ), group.told

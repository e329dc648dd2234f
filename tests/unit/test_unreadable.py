"""Partitions with a batch that cannot be decoded: when they are set aside, and what ends that."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from prometheus_client import CollectorRegistry

from schemas.dead_letter import Reason
from schemas.settings import load_settings
from worker.events import Rejection, decode, unreadable_event
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.serving import Answerer
from worker.stream import unreadable as module
from worker.stream.children import room_in_container
from worker.stream.unreadable import ReadBatch, Unreadable

TOPIC = "marquee.profiles"


class Told:
    """A message of partition 0: an event, or the report of a batch that cannot be decoded."""

    def __init__(self, offset: int, error: int | None = None) -> None:
        self._offset, self._error = offset, error

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return None if self._error is None else KafkaError(self._error)


class Client:
    """Notes its calls; `at` is its position."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.at = -1001

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, p.partition, self.at) for p in partitions]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.told += [("assign", p.offset) for p in partitions]
        self.at = -1001  # until the next event

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None: ...

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.told += [("pause", p.partition) for p in partitions]

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.told += [("resume", p.partition) for p in partitions]


class Reading:
    """A child process that ends when the test sets `done`."""

    made: ClassVar[list["Reading"]] = []

    def __init__(self, settings: object, place: tuple[str, int], position: int, first: int) -> None:  # noqa: ARG002
        self.place, self.position = place, position
        self.done = self.cancelled = False
        self.found: ReadBatch | None = None
        self.problem: str | None = None
        self.made.append(self)

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    Reading.made = []
    monkeypatch.setattr(module, "BatchReading", Reading)
    return Client()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def unreadable(client: Any, health: Health) -> Unreadable:
    return Unreadable(load_settings(), client, health, Metrics(CollectorRegistry()))


def strike(unreadable: Unreadable, *messages: Any) -> list[int | None]:
    return [message.offset() for message in unreadable.without(messages)]


BAD = KafkaError._BAD_COMPRESSION


def test_three_reports_set_the_partition_aside_and_nothing_behind_is_taken(
    unreadable: Unreadable, client: Client
) -> None:
    # Given a partition that is read from its beginning
    unreadable.begun([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
    client.at = 5
    # When a poll brings events around a report, and two more polls repeat it
    taken = [strike(unreadable, Told(4), Told(5, BAD), Told(8))]
    taken += [strike(unreadable, Told(5, BAD)) for _ in range(2)]
    # Then the events before it are taken, and the client goes back to it twice before the partition is paused
    assert taken == [[4], [], []]
    assert client.told == [("assign", 5), ("assign", 5), ("pause", 0)]
    assert [reading.position for reading in Reading.made] == [5]
    assert unreadable.others([TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)]) == [
        TopicPartition(TOPIC, 1)
    ]


def test_what_was_read_is_taken_and_the_client_goes_on_behind_it(
    unreadable: Unreadable, client: Client
) -> None:
    unreadable.begun([TopicPartition(TOPIC, 0, 6)])
    for _ in range(3):
        strike(unreadable, Told(5, BAD))
    (reading,) = Reading.made
    assert unreadable.take() == []
    reading.done, reading.found = True, ReadBatch([unreadable_event((TOPIC, 0), 6, "why")], 7)
    # When the reading, which begins inside the batch, ends
    events = unreadable.take()
    # Then
    assert [event.offset() for event in events] == [6]
    assert client.told[-2:] == [("resume", 0), ("assign", 7)]
    # And the next batch, straight behind it, is not reported three times first
    strike(unreadable, Told(7, BAD))
    assert [reading.position for reading in Reading.made] == [6, 7]


@pytest.mark.parametrize("end", ["rewind", "revoke"])
def test_a_rewind_and_a_revoke_end_the_reading(end: str, unreadable: Unreadable) -> None:
    for _ in range(3):
        strike(unreadable, Told(5, BAD))
    (reading,) = Reading.made
    place = TopicPartition(TOPIC, 0, 3)
    (unreadable.begun if end == "rewind" else unreadable.gone)([place])
    reading.done, reading.found = True, ReadBatch([unreadable_event((TOPIC, 0), 5, "why")], 6)
    assert reading.cancelled
    assert unreadable.take() == []
    assert unreadable.others([place]) == [place]


def test_a_reading_that_fails_is_named_and_tried_again(
    unreadable: Unreadable, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    for _ in range(3):
        strike(unreadable, Told(5, BAD))
    Reading.made[0].done, Reading.made[0].problem = True, "the brokers are away"
    unreadable.take()
    assert "marquee.profiles-0@5" in health.problems["unreadable"]
    unreadable.take()
    Reading.made[1].done, Reading.made[1].found = True, ReadBatch([], 6)
    unreadable.take()
    assert "unreadable" not in health.problems


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({"memory.max": "1000\n", "memory.current": "400\n"}, 600),
        ({"memory.max": "max\n", "memory.current": "400\n"}, sys.maxsize),
        ({}, sys.maxsize),
    ],
)
def test_the_child_takes_no_more_than_the_container_has_left(
    files: dict[str, str], room: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    assert room_in_container(tmp_path) == room


def test_the_dead_letter_of_an_offset_that_cannot_be_read_names_its_place() -> None:
    answerer = object.__new__(Answerer)
    answerer._dead_letters = "marquee.dead-letters"
    served: Any = SimpleNamespace(name="20261121T101500-3f9c2a")
    event = unreadable_event((TOPIC, 3), 7, "Invalid compressed data")
    rejection = decode(event.value())
    assert isinstance(rejection, Rejection)
    answer = answerer._dead_letter(event, rejection, served)
    headers = dict(answer.record.headers)
    assert (answer.record.partition, answer.record.key, answer.record.value) == (3, None, None)
    assert answer.reason is Reason.UNREADABLE
    assert headers["marquee.reason"] == b"unreadable"
    assert headers["marquee.source"] == b"marquee.profiles-3-7"


def test_other_errors_are_left_to_the_stream(unreadable: Unreadable, client: Client) -> None:
    for _ in range(3):
        assert strike(unreadable, Told(5, KafkaError._TRANSPORT), Told(6)) == [5, 6]
    assert client.told == []

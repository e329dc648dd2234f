"""A committed offset before the last answered event is asked for again, and used only if it stays the same."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from schemas.settings import Settings, load_settings
from worker.stream import offsets as module
from worker.stream.crashes import mark_of
from worker.stream.ends import Answered, Reading, answered_by
from worker.stream.offsets import DOUBT_SECONDS, OLD_SECONDS, Positions

LAST = Answered(offset=41, key=b"k", at_ms=1_000)


class DoubtedError(Exception):
    """The position is not known yet, for this reason."""


@dataclass
class Group:
    """A consumer whose group returns these offsets, one after another, and the last one from then on."""

    told: list[int]
    elsewhere: int = OFFSET_INVALID  # of partition 0

    def committed(self, partitions: Sequence[TopicPartition], _seconds: float) -> list[TopicPartition]:
        offset = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        return [
            TopicPartition(place.topic, place.partition, offset if place.partition else self.elsewhere)
            for place in partitions
        ]

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None, 3: None})})

    def close(self) -> None: ...

    def get_watermark_offsets(self, _place: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        return 0, 99


class Answers:
    """The topics of answers: the same last one in each partition, or none."""

    last_answer: Answered | None = LAST
    same_topic = True

    def __init__(self, _settings: Settings) -> None: ...

    def look(self, partitions: Sequence[int], _seconds: float, _since: object) -> Reading:
        last = {} if self.last_answer is None else dict.fromkeys(partitions, self.last_answer)
        return Reading(last, {}, {})

    def close(self) -> None: ...

    def is_of(self, _partition: int, _answered: Answered, _seconds: float) -> bool:
        return self.same_topic


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> type[Answers]:
    class Own(Answers): ...

    monkeypatch.setattr(module, "AnsweredReader", Own)
    return Own


def asked(group: Group, **worker: Any) -> Positions:
    return Positions(load_settings(worker=worker), cast(Consumer, group))


def offsets(positions: Positions) -> list[int]:
    told = positions.committed([TopicPartition("profiles", 3)])
    if told.waiting:
        raise DoubtedError(told.waiting[3])
    return [place.offset for place in told.positions]


@pytest.mark.usefixtures("answers", "clock")
@pytest.mark.parametrize("offset", [42, 50])
def test_an_offset_after_the_last_answer_is_believed_at_once(offset: int) -> None:
    assert offsets(asked(Group([offset]))) == [offset]


@pytest.mark.usefixtures("clock")
def test_a_partition_without_answers_begins_where_the_settings_say(answers: type[Answers]) -> None:
    answers.last_answer = None

    assert offsets(asked(Group([OFFSET_INVALID]))) == [OFFSET_BEGINNING]
    with pytest.raises(DoubtedError, match="partition 0"):
        offsets(asked(Group([OFFSET_INVALID]), start="latest"))


@pytest.mark.usefixtures("clock")
def test_a_group_begins_at_the_end_once_and_reads_partitions_that_are_added_from_their_beginning(
    answers: type[Answers],
) -> None:
    answers.last_answer = None
    places = [TopicPartition("profiles", 0), TopicPartition("profiles", 3)]

    told = asked(Group([OFFSET_INVALID]), start="latest").committed(places)
    assert [place.offset for place in told.positions] == [99, 99]
    assert [(place.partition, place.offset) for place in told.to_commit] == [(0, 99), (3, 99)]

    told = asked(Group([OFFSET_INVALID], elsewhere=7), start="latest").committed(places)
    assert [place.offset for place in told.positions] == [7, OFFSET_BEGINNING]
    assert [(place.partition, place.offset) for place in told.to_commit] == [(3, 0)]


@pytest.mark.usefixtures("answers", "clock")
def test_a_partition_that_waits_keeps_no_other_from_being_told(answers: type[Answers]) -> None:
    answers.last_answer = None
    group = Group([42], elsewhere=7)
    error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)
    committed = group.committed

    def one_hangs(partitions: Sequence[TopicPartition], seconds: float) -> list[TopicPartition]:
        if any(place.partition == 3 for place in partitions):
            raise KafkaException(error)
        return committed(partitions, seconds)

    group.committed = one_hangs  # type: ignore
    told = asked(group).committed([TopicPartition("profiles", 0), TopicPartition("profiles", 3)])

    assert [(place.partition, place.offset) for place in told.positions] == [(0, 7)]
    assert told.waiting == {3: error.str()}


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("offset", "ends", "idle"), [(99, 3, {3}), (98, 3, set()), (99, 2, set()), (99, 0, set())]
)
def test_a_partition_is_idle_where_workers_ended_and_no_event_is_behind_its_offset(
    offset: int, ends: int, idle: set[int], answers: type[Answers]
) -> None:
    answers.last_answer = None
    group = Group([offset])
    committed = group.committed

    def marked(partitions: Sequence[TopicPartition], seconds: float) -> list[TopicPartition]:
        return [
            TopicPartition(place.topic, place.partition, place.offset, mark_of(ends, place.offset))
            for place in committed(partitions, seconds)
        ]

    group.committed = marked  # type: ignore
    assert asked(group).committed([TopicPartition("profiles", 3)]).idle == idle


@pytest.mark.usefixtures("answers", "clock")
@pytest.mark.parametrize("told", [OFFSET_INVALID, 0, 41])
def test_a_coordinator_that_is_loading_is_asked_until_it_knows(told: int) -> None:
    positions = asked(Group([told, told, 42]))

    for _ in range(2):
        with pytest.raises(DoubtedError, match=f"partition 3 {'none' if told < 0 else told}, answered 41"):
            offsets(positions)
    assert offsets(positions) == [42]


@pytest.mark.usefixtures("answers")
def test_an_offset_that_is_lost_for_good_is_taken_from_the_answers(clock: list[float]) -> None:
    positions = asked(Group([OFFSET_INVALID]))
    with pytest.raises(DoubtedError):
        offsets(positions)

    clock[0] += DOUBT_SECONDS

    assert offsets(positions) == [42]


def test_answers_of_a_topic_that_was_made_anew_say_nothing(
    answers: type[Answers], clock: list[float]
) -> None:
    answers.same_topic = False
    positions = asked(Group([OFFSET_INVALID]))
    with pytest.raises(DoubtedError):
        offsets(positions)

    clock[0] += DOUBT_SECONDS

    assert offsets(positions) == [OFFSET_BEGINNING]


@pytest.mark.usefixtures("answers")
def test_an_offset_set_back_on_purpose_is_obeyed_and_remembered(clock: list[float]) -> None:
    positions = asked(Group([7, 7, 9, 8, 3]))
    with pytest.raises(DoubtedError):
        offsets(positions)
    clock[0] += DOUBT_SECONDS
    assert offsets(positions) == [7]

    assert offsets(positions) == [9]  # on its way back to where it was
    assert offsets(positions) == [8]
    with pytest.raises(DoubtedError):
        offsets(positions)


@pytest.mark.usefixtures("answers")
def test_one_that_changes_its_word_is_doubted_from_then_on(clock: list[float]) -> None:
    positions = asked(Group([OFFSET_INVALID, 7, 7]))
    with pytest.raises(DoubtedError):
        offsets(positions)
    clock[0] += DOUBT_SECONDS

    with pytest.raises(DoubtedError):
        offsets(positions)


@pytest.mark.usefixtures("answers")
def test_a_reader_that_gets_no_answer_is_replaced_once_it_had_its_time(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    made: list[object] = []

    class Silent(Answers):
        def __init__(self, settings: Settings) -> None:
            super().__init__(settings)
            made.append(self)

        def look(self, _partitions: Sequence[int], _seconds: float, _since: object) -> Reading:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(module, "AnsweredReader", Silent)
    positions = asked(Group([42]))
    for age, readers in ((0.0, 1), (OLD_SECONDS, 1), (0.1, 2), (OLD_SECONDS, 2)):
        clock[0] += age
        with pytest.raises(KafkaException):
            offsets(positions)
        assert len(made) == readers

    positions.expect_others()
    assert len(made) == 3


@dataclass
class Found:
    """A record of `recommendations` or `dead-letters`."""

    value_: bytes | None
    headers_: list[tuple[str, bytes]] | None = None

    def value(self) -> bytes | None:
        return self.value_

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self.headers_

    def key(self) -> bytes:
        return b"k"

    def partition(self) -> int:
        return 3

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000


def source(topic: str, partition: object, offset: object) -> bytes:
    return json.dumps({"source": {"topic": topic, "partition": partition, "offset": offset}}).encode()


@pytest.mark.parametrize(
    "record",
    [
        Found(source("profiles", 3, 41)),
        Found(b"\xff", [("marquee.source", b"profiles-3-41")]),
        Found(None, [("trace", b"1"), ("marquee.source", b"profiles-3-41")]),
    ],
)
def test_both_kinds_of_answer_name_their_event(record: Found) -> None:
    assert answered_by(cast(Any, record), "profiles") == LAST


@pytest.mark.parametrize(
    "record",
    [
        Found(source("profiles", 2, 41)),
        Found(source("others", 3, 41)),
        Found(None),
        Found(b"{"),
        Found(b"[]"),
        Found(b'{"source": null}'),
        Found(b"1"),
        Found(b"{}", [("marquee.source", b"profiles")]),
    ],
)
def test_what_is_no_answer_to_an_event_of_the_partition_is_passed_over(record: Found) -> None:
    assert answered_by(cast(Any, record), "profiles") is None

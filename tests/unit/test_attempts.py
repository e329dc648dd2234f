"""Ends of workers, counted in the metadata of committed offsets."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from worker.stream.crashes import EndMarks, ends_of, mark_of

TOPIC = "marquee.profiles"


class Group:
    """Keeps offsets with their metadata, as a broker does."""

    def __init__(self) -> None:
        self.offsets: dict[int, tuple[int, str]] = {}
        self.refuses = False

    def commit(self, places: list[TopicPartition]) -> None:
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
        self.offsets |= {place.partition: (place.offset, place.metadata or "") for place in places}

    def told(self, partition: int) -> TopicPartition:
        return TopicPartition(TOPIC, partition, *self.offsets[partition])


@pytest.fixture
def group() -> Group:
    group = Group()
    group.commit([TopicPartition(TOPIC, 0, 7), TopicPartition(TOPIC, 1, 9)])
    return group


def owner(group: Group, *partitions: int) -> EndMarks:
    """A worker that has just been given these partitions, and has taken them up."""
    marks = EndMarks(group.commit)
    places = [group.told(number) for number in partitions]
    marks.assigned(places)
    marks.mark(places, {})
    return marks


@given(st.integers(0, 999_999), st.integers(0, 2**63 - 1))
def test_a_mark_counts_for_its_offset_alone(ends: int, offset: int) -> None:
    assert ends_of(mark_of(ends, offset), offset) == ends
    assert ends_of(mark_of(ends, offset), offset + 1) == 0


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "somebody else's",
        "marquee:2:ends=3@7",
        "marquee:1:ends=-3@7",
        "marquee:1:ends=3@7 ",
        "marquee:1:ends=3@7\n",
        "marquee:1:ends=٣@7",
        "marquee:1:ends=9999999@7",
    ],
)
def test_foreign_metadata_counts_zero(metadata: str | None) -> None:
    assert ends_of(metadata, 7) == 0


@given(st.text())
def test_any_metadata_can_be_read(metadata: str) -> None:
    assert ends_of(metadata, 7) in range(1_000_000)


def test_ends_of_one_owner_after_the_other_are_counted_by_partition(group: Group) -> None:
    # When three owners end one after the other, of which only the last has partition 1
    assert owner(group, 0).ends(0) == 0
    assert owner(group, 0).ends(0) == 1
    assert owner(group, 0, 1).ends(0) == 2
    # Then
    last = owner(group, 0, 1)
    assert (last.ends(0), last.ends(1)) == (3, 1)
    assert {number: offset for number, (offset, _) in group.offsets.items()} == {0: 7, 1: 9}


def test_a_commit_resets_the_count(group: Group) -> None:
    owner(group, 0)
    owner(group, 0)
    # When results are committed, which has no metadata, also where a position is set back to the same offset later
    group.commit([TopicPartition(TOPIC, 0, 8)])
    assert owner(group, 0).ends(0) == 0
    # And where an older tool keeps the metadata beside another offset
    group.offsets[0] = 5, mark_of(3, 8)
    assert owner(group, 0).ends(0) == 0


def test_a_stop_and_a_revoke_reset_the_count_where_nothing_was_committed(group: Group) -> None:
    marks = owner(group, 0, 1)
    # Given one partition that has moved on, and one that has not
    group.commit([TopicPartition(TOPIC, 1, 12)])
    # When both go in good order
    marks.take_back(TOPIC, {0: 7, 1: 12})
    # Then neither is counted, and the one that has moved is not touched
    assert group.offsets == {0: (7, ""), 1: (12, "")}
    group.commit([TopicPartition(TOPIC, 1, 13)])
    marks.gone([TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])
    marks.take_back(TOPIC, {0: 7, 1: 12})
    assert group.offsets[1] == (13, "")


def test_a_rewind_is_no_end_of_a_worker(group: Group) -> None:
    marks = owner(group, 0)
    # When the position is read again, and again, by the same owner
    for _ in range(5):
        marks.mark([group.told(0)], {})
    # Then
    assert marks.ends(0) == 0
    assert ends_of(group.offsets[0][1], 7) == 1


def test_a_mark_that_is_refused_is_not_tried_again(group: Group) -> None:
    owner(group, 0)
    marks = EndMarks(group.commit)
    marks.assigned([group.told(0)])
    group.refuses = True
    with pytest.raises(KafkaException):
        marks.mark([group.told(0)], {})
    marks.mark([group.told(0)], {})
    assert marks.ends(0) == 1
    marks.take_back(TOPIC, {0: 7})
    assert ends_of(group.offsets[0][1], 7) == 1


def test_a_partition_without_an_offset_is_marked_where_it_begins(group: Group) -> None:
    marks = EndMarks(group.commit)
    new = TopicPartition(TOPIC, 3, -2)
    marks.assigned([new])
    marks.mark([new], {3: 4})
    assert group.offsets[3] == (4, mark_of(1, 4))

"""Batches are cut by events and by bytes, in the order in which the events were polled, and lose none."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.events import PolledEvent
from worker.events import PolledEvents, size_of


def events(*sizes: int) -> list[PolledEvent]:
    return [PolledEvent(b"x" * size, ("profiles", 0, place), None) for place, size in enumerate(sizes)]


def offsets(taken: PolledEvents) -> list[list[int]]:
    batches = []
    while taken:
        batch, size = taken.next_batch()
        assert size == sum(map(size_of, batch))
        batches.append([event.offset() for event in batch])
    return batches


def test_a_batch_is_full_by_its_events() -> None:
    taken = PolledEvents(3, 1_000)
    taken.add(events(1, 1))
    assert (taken.full, taken.room) == (False, 1)
    taken.add(events(1))
    assert (taken.full, taken.room) == (True, 0)


def test_a_batch_is_full_by_its_bytes() -> None:
    taken = PolledEvents(1_000, 100)
    taken.add(events(40))
    assert (taken.full, taken.room) == (False, 2)
    taken.add(events(40, 40))
    assert (taken.full, taken.room) == (True, 0)
    assert offsets(taken)[0] == [0, 0]


def test_small_events_are_polled_up_to_the_limit() -> None:
    taken = PolledEvents(1_024, 8 * 2**20)
    assert taken.room == 1_024
    taken.add(events(200))
    assert taken.room == 1_023
    assert PolledEvents(1_024, 8 * 2**20).next_batch() == ([], 0)


def test_keys_count_and_an_event_without_a_value_has_no_size() -> None:
    taken = PolledEvents(10, 100)
    taken.add([PolledEvent(None, name=None)])
    assert taken.room == 9
    taken.add([PolledEvent(None, name=b"k" * 100)])
    assert taken.full


def test_an_event_larger_than_a_batch_is_one_of_its_own() -> None:
    taken = PolledEvents(10, 100)
    taken.add(events(10, 500, 20, 30, 300))
    assert offsets(taken) == [[0], [1], [2, 3], [4]]


def test_dropped_events_do_not_count() -> None:
    taken = PolledEvents(10, 100)
    taken.add(events(90, 90))
    taken.clear()
    assert (len(taken), taken.room) == (0, 10)


@given(st.lists(st.integers(0, 120)), st.integers(1, 9), st.integers(1, 100))
def test_every_event_is_in_one_batch_and_no_batch_is_too_large(
    sizes: list[int], max_events: int, max_bytes: int
) -> None:
    taken = PolledEvents(max_events, max_bytes)
    taken.add(events(*sizes))
    batches = offsets(taken)
    assert [offset for batch in batches for offset in batch] == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) <= max_events
        assert len(batch) == 1 or sum(sizes[offset] for offset in batch) <= max_bytes

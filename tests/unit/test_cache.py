"""The cache of lists: keys, limits, and the order of eviction."""

import os
import tracemalloc
from collections.abc import Sequence
from itertools import combinations
from threading import Thread

import pytest

from schemas.profile import PROFILE_FIELDS, Filter, ProfileEvent
from worker.retrieval.queries import QUERY_FIELDS
from worker.serving.cache import Found, Key, ListCache

FIELDS = ("user_id", *PROFILE_FIELDS, *QUERY_FIELDS)
LONG = list(range(2**62, 2**62 + 200))
DIFFERENT = [
    ProfileEvent(),
    ProfileEvent(user_id=1),
    ProfileEvent(user_id=11),
    ProfileEvent(k=1),
    ProfileEvent(gender="F"),
    ProfileEvent(gender="M"),
    ProfileEvent(age=1),
    ProfileEvent(occupation=1),
    ProfileEvent(recent=[1]),
    ProfileEvent(recent=[1, 1]),
    ProfileEvent(exclude=[1]),
    ProfileEvent(recent=LONG),
    ProfileEvent(recent=LONG[::-1]),
    ProfileEvent(exclude=LONG),
    ProfileEvent(recent=LONG, exclude=LONG),
    ProfileEvent(filter=Filter()),
    ProfileEvent(filter=Filter(genres=("a",))),
    ProfileEvent(filter=Filter(genres=("a", "b"))),
    ProfileEvent(filter=Filter(genres=('a","b',))),
    ProfileEvent(filter=Filter(not_genres=("a",))),
    ProfileEvent(filter=Filter(years=(1990, 1999))),
]


def found(size: int) -> Found:
    return bytes(bytearray(size)), "milvus"


def list_keys(profiles: Sequence[ProfileEvent], blocklist: frozenset[int]) -> list[Key]:
    return ListCache(1, fields=FIELDS).keys(profiles, blocklist)


def keys(numbers: Sequence[int]) -> list[Key]:
    return list_keys([ProfileEvent(user_id=number) for number in numbers], frozenset())


def test_profiles_that_may_get_different_lists_have_different_keys() -> None:
    assert len(set(list_keys(DIFFERENT, frozenset()))) == len(DIFFERENT)
    for one, other in combinations((frozenset(), frozenset({1}), frozenset({2}), frozenset({1, 2})), 2):
        assert not set(list_keys(DIFFERENT, one)) & set(list_keys(DIFFERENT, other))


def test_equal_profiles_have_the_same_key_under_any_event_id() -> None:
    copies = [profile.model_copy(deep=True, update={"event_id": "x"}) for profile in DIFFERENT]

    assert list_keys(copies, frozenset({1, 2})) == list_keys(DIFFERENT, frozenset({2, 1}))


def test_fields_that_no_list_depends_on_are_no_part_of_the_key() -> None:
    cache = ListCache(1, fields=("age", *QUERY_FIELDS))
    one, other = ProfileEvent(user_id=1, age=30), ProfileEvent(user_id=2, age=30, gender="F")

    assert cache.keys([one], frozenset()) == cache.keys([other], frozenset())


def test_the_longest_profile_has_a_short_key() -> None:
    genres = tuple("é" * 255 + str(number % 10) for number in range(64))
    largest = ProfileEvent(
        user_id=2**63 - 1, recent=LONG, exclude=LONG * 5, filter=Filter(genres=genres, not_genres=genres)
    )

    assert max(map(len, list_keys([largest, *DIFFERENT], frozenset(LONG)))) <= 256


def test_the_list_unused_the_longest_goes_first() -> None:
    cache = ListCache(3, fields=FIELDS)
    a, b, c, d = keys([1, 2, 3, 4])
    cache.keep([a, b, c], [found(1)] * 3)
    cache.find([a])

    cache.keep([d], [found(1)])

    assert cache.find([a, b, c, d]) == [found(1), None, found(1), found(1)]


def test_lists_are_evicted_when_their_bytes_are_too_many() -> None:
    cache = ListCache(1_000, max_bytes=100_000, fields=FIELDS)
    all_keys = keys(range(1, 101))

    for key in all_keys:
        cache.keep([key], [found(10_000)])

    kept = cache.find(all_keys)
    assert cache.bytes <= 100_000
    assert [place for place, one in enumerate(kept) if one] == list(range(91, 100))


def test_a_list_larger_than_the_cache_is_not_kept() -> None:
    cache = ListCache(10, max_bytes=1_000, fields=FIELDS)
    cache.keep(keys([1]), [found(2_000)])

    assert cache.find(keys([1])) == [None]
    assert cache.bytes == 0


@pytest.mark.parametrize("count", [1_000, 5_000, 10_923, 50_000])
def test_the_counted_bytes_are_at_least_those_in_memory(count: int) -> None:
    cache = ListCache(count, max_bytes=2**40, fields=FIELDS)
    tracemalloc.start()
    try:
        for _ in range(count):
            cache.keep([os.urandom(16)], [found(100)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held <= cache.bytes <= 1.6 * held


def test_threads_share_a_cache() -> None:
    cache = ListCache(50, max_bytes=20_000, fields=FIELDS)
    failures: list[BaseException] = []

    def use(first: int) -> None:
        try:
            for number in range(first, first + 2_000):
                batch = keys(range(number, number + 8))
                cache.find(batch)
                cache.keep(batch, [found(number % 200)] * 8)
        except BaseException as failure:  # noqa: BLE001  reported below
            failures.append(failure)

    threads = [Thread(target=use, args=(first,)) for first in (1, 501, 1001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    kept = keys(range(1, 4_000))
    sizes = [len(key) + len(one[0]) for key, one in zip(kept, cache.find(kept), strict=True) if one]
    assert 0 < len(sizes) <= 50
    assert sum(sizes) <= cache.bytes <= 20_000

"""Answering: the fault of an event makes one dead letter, every other fault none; equal profiles are searched once."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from schemas.dead_letter import Reason
from schemas.errors import SettingsError
from schemas.profile import PROFILE_FIELDS, ProfileEvent
from schemas.recommendation import Retrieval
from tests.unit.events import PolledEvent
from tests.unit.lists import found
from worker.errors import AbandonedError, ForeignVectorsError, SupersededError
from worker.events import Event, Record
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.release.features import Unknowns
from worker.retrieval.index import ItemIds
from worker.retrieval.queries import QUERY_FIELDS, Queries, RankedItem, RankedLists
from worker.retrieval.retriever import FoundLists
from worker.serving import Answerer, Recommender, Serving
from worker.serving.cache import ListCache

POISON = 666
ITEMS = ItemIds(np.arange(1, 100))
FIELDS = ("user_id", *PROFILE_FIELDS, *QUERY_FIELDS)


Search = Callable[[Queries], FoundLists]


def encode(event: Event, profile: ProfileEvent, movies: bytes, retrieval: Retrieval) -> Record:
    if profile.user_id == POISON:
        raise KeyError(POISON)
    return Record("recommendations", event.partition(), event.key(), movies + retrieval.encode(), [])


def answerer(
    search: Search,
    *,
    cached: int = 0,
    registry: CollectorRegistry | None = None,
    blocklist: Callable[[], frozenset[int]] = frozenset,
) -> Answerer:
    release = SimpleNamespace(
        manifest=SimpleNamespace(release="r-1"),
        embed_profiles=lambda profiles: np.zeros((len(profiles), 2), dtype=np.float32),
        unknowns=lambda _: Unknowns(0, 0),
    )
    served = SimpleNamespace(
        release=release,
        target=SimpleNamespace(exact=None, collection="c", items=ITEMS),
        name="r-1",
        encoder=SimpleNamespace(encode=encode, movies=movies),
        cache=ListCache(cached, fields=FIELDS),
        made=lambda record: bool(record.value),
    )
    metrics = Metrics(registry or CollectorRegistry())
    recommender = Recommender(lambda _target, queries, *_: search(queries), observer=metrics)
    serving = Serving(cast(Any, served), 1)
    return Answerer("dead-letters", lambda: serving, recommender, metrics, blocklist=blocklist)


def movies(lists: RankedLists) -> list[bytes]:
    return [b",".join(b"%d" % item.row for item in items) for items in lists.by_query()]


def events() -> list[PolledEvent]:
    users = (1, 2, POISON, 4, 5)
    return [
        PolledEvent(b'{"user_id": %d}' % user, ("profiles", 0, place)) for place, user in enumerate(users)
    ]


def test_an_event_that_cannot_be_answered_is_one_dead_letter_among_answers() -> None:
    answers = answerer(lambda queries: found([[]] * len(queries))).answer(events(), Cancellation())

    assert [answer.event.offset() for answer in answers] == [0, 1, 2, 3, 4]
    assert [answer.reason for answer in answers] == [None, None, Reason.PROCESSING_FAILED, None, None]


def test_a_refused_token_makes_no_dead_letters() -> None:
    def refused(queries: Queries) -> FoundLists:
        raise SettingsError("Milvus refused the token")

    with pytest.raises(SettingsError):
        answerer(refused).answer(events(), Cancellation())


class CountingSearch:
    """Gives every query the next row, and counts the queries of each search."""

    def __init__(self, *, milvus_away: bool = False) -> None:
        self.asked: list[int] = []
        self._milvus_away = milvus_away

    def __call__(self, queries: Queries) -> FoundLists:
        first = sum(self.asked)
        self.asked.append(len(queries))
        lists = [[RankedItem(first + number, 1.0)] for number in range(len(queries))]
        return found(lists, milvus_away=self._milvus_away)


def values(of: Answerer, *bodies: bytes) -> list[bytes | None]:
    polled = [PolledEvent(body, ("profiles", 0, place)) for place, body in enumerate(bodies)]
    return [answer.record.value for answer in of.answer(polled, Cancellation())]


def test_equal_profiles_are_searched_for_once_and_then_found_in_the_cache() -> None:
    search, registry = CountingSearch(), CollectorRegistry()
    of = answerer(search, cached=10, registry=registry)

    first = values(of, b'{"user_id":1,"event_id":"a"}', b'{"user_id":2}', b'{"user_id":1,"event_id":"b"}')
    second = values(of, b'{"user_id":2}', b'{"user_id":3}')

    assert first == [b"0milvus", b"1milvus", b"0milvus"]
    assert second == [b"1milvus", b"2milvus"]
    assert search.asked == [2, 1]
    counted = [
        registry.get_sample_value("marquee_cached_lists_total", {"found": what})
        for what in ("hit", "repeat", "miss")
    ]
    assert counted == [1, 1, 3]


@pytest.mark.parametrize(
    "body",
    [
        b'{"user_id":2}', b'{"gender":"F"}', b'{"age":1}', b'{"occupation":1}', b'{"recent":[1]}', b'{"k":6}',
        b'{"exclude":[1]}', b'{"filter":{"genres":["Drama"]}}', b'{"filter":{"not_genres":["Drama"]}}',
        b'{"filter":{"years":[1,2]}}',
    ],
)  # fmt: skip
def test_profiles_that_differ_in_any_field_of_the_key_are_searched_apart(body: bytes) -> None:
    assert values(answerer(CountingSearch(), cached=10), b"{}", body) == [b"0milvus", b"1milvus"]


def test_a_list_from_before_a_withdrawal_is_not_published_again() -> None:
    search, blocklist = CountingSearch(), set[int]()
    of = answerer(search, cached=10, blocklist=lambda: frozenset(blocklist))

    before = values(of, b"{}")
    blocklist.add(1)
    after = values(of, b"{}", b"{}")
    blocklist.clear()

    assert (before, after) == ([b"0milvus"], [b"1milvus", b"1milvus"])
    assert values(of, b"{}") == before  # found with the same blocklist
    assert search.asked == [1, 1]


def test_without_a_cache_every_event_is_searched_for() -> None:
    search = CountingSearch()
    assert values(answerer(search), b"{}", b"{}") == [b"0milvus", b"1milvus"]
    assert search.asked == [2]


def test_lists_found_while_milvus_is_away_are_not_cached() -> None:
    search = CountingSearch(milvus_away=True)
    of = answerer(search, cached=10)

    assert values(of, b"{}", b"{}") == [b"0exact", b"0exact"]
    assert values(of, b"{}") == [b"1exact"]


def test_the_oldest_lists_are_evicted_first() -> None:
    search = CountingSearch()
    of = answerer(search, cached=2)
    values(of, *(b'{"user_id":%d}' % user for user in range(1, 6)))

    values(of, b'{"user_id":5}', b'{"user_id":4}', b'{"user_id":1}')

    assert search.asked == [5, 1]


def test_a_batch_that_waits_for_milvus_starts_again_with_the_release_of_a_swap() -> None:
    first, second = (
        SimpleNamespace(
            release=SimpleNamespace(
                manifest=SimpleNamespace(release=name),
                embed_profiles=lambda profiles: np.zeros((len(profiles), 2), dtype=np.float32),
                unknowns=lambda _: Unknowns(0, 0),
            ),
            target=SimpleNamespace(exact=None, collection=name, items=ITEMS),
            name=name,
            encoder=SimpleNamespace(encode=encode, movies=movies),
            cache=ListCache(0, fields=FIELDS),
            made=lambda record: bool(record.value),
        )
        for name in ("r-1", "r-2")
    )
    serving = [Serving(cast(Any, first), 1), Serving(cast(Any, second), 2)]
    searched = []

    def search(target: Any, queries: Queries, cancellation: Cancellation, _blocklist: object) -> FoundLists:
        searched.append(target.collection)
        if target is first.target:  # whose collection is lost
            serving.pop(0).replaced.cancel(SupersededError)
            cancellation.check()
        return found([[RankedItem(7, 1.0)]] * len(queries))

    of = Answerer("dead-letters", lambda: serving[0], Recommender(search), Metrics(CollectorRegistry()))

    assert values(of, b'{"user_id":1}', b'{"user_id":2}', b"{")[:2] == [b"7milvus", b"7milvus"]
    assert searched == ["r-1", "r-2"]


def embedding(of: Answerer, embed: Callable[[Sequence[ProfileEvent]], np.ndarray]) -> None:
    """Have its release embed like this."""
    setattr(of._serving().active.release, "embed_profiles", embed)  # noqa: B010  a stand-in's


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_vector_that_is_no_number_is_one_dead_letter(number: float) -> None:
    """Its event's alone: the others are answered, and nothing of it reaches Milvus or the cache."""
    asked: list[int] = []

    def search(queries: Queries) -> FoundLists:
        asked.append(len(queries))
        return found([[RankedItem(7, 1.0)]] * len(queries))

    of = answerer(search, cached=10)

    def embed(profiles: Sequence[ProfileEvent]) -> np.ndarray:
        return np.array([[number if profile.user_id == 2 else 0.0, 0.0] for profile in profiles], np.float32)

    embedding(of, embed)
    answers = of.answer(
        [PolledEvent(b'{"user_id": %d}' % user, ("p", 0, user)) for user in range(1, 6)], Cancellation()
    )
    assert [answer.reason for answer in answers] == [None, Reason.PROCESSING_FAILED, None, None, None]
    assert sum(asked) == 4


def test_foreign_vectors_are_embedded_again() -> None:
    calls: list[int] = []
    registry = CollectorRegistry()
    of = answerer(lambda queries: found([[]] * len(queries)), registry=registry)

    def embed(profiles: Sequence[ProfileEvent]) -> np.ndarray:
        calls.append(len(profiles))
        if len(calls) < 3:
            raise ForeignVectorsError
        return np.zeros((len(profiles), 2), np.float32)

    embedding(of, embed)
    answers = of.answer([PolledEvent(b"{}", ("p", 0, place)) for place in range(4)], Cancellation())
    assert [answer.reason for answer in answers] == [None] * 4
    assert calls == [4, 4, 4]
    assert registry.get_sample_value("marquee_release_mismatches_total") == 8


def test_a_cancelled_batch_is_not_embedded_again() -> None:
    of = answerer(lambda queries: found([[]] * len(queries)))

    def embed(_: Sequence[ProfileEvent]) -> np.ndarray:
        raise ForeignVectorsError

    embedding(of, embed)
    cancelled = Cancellation()
    cancelled.cancel()
    with pytest.raises(AbandonedError):
        of.answer([PolledEvent(b"{}", ("p", 0, 0))], cancelled)

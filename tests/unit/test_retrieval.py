"""The way to Milvus: each release's own, closed by the first search that fails, opened by a probe."""

import gc
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from schemas.errors import SettingsError
from schemas.settings import load_settings
from worker.errors import (
    AbandonedError,
    MilvusError,
    RefusedCallError,
    RefusedQueriesError,
    SlowMilvusError,
)
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.retrieval.call_size import CallSize
from worker.retrieval.exact import ExactIndex
from worker.retrieval.lists import Ids, Vectors, Wish
from worker.retrieval.milvus import stacked
from worker.retrieval.retriever import Retriever, SearchTarget

MOVIES, DIMENSION = 50, 8
QUERIES = np.ones((2, DIMENSION), np.float32)
WISHES = [Wish(3), Wish(5)]


class HalfLost:
    """A Milvus that has lost some collections."""

    def __init__(self, *lost: str) -> None:
        self.lost = set(lost)

    def search(
        self, collection: str, queries: Vectors, limit: int, *_: object, **__: object
    ) -> tuple[Ids, Vectors]:
        if collection in self.lost:
            raise MilvusError(f"could not search {collection}")
        return index(collection).search(queries, limit)


def coarse(seed: int, rows: int) -> Vectors:
    """Random vectors [rows, DIMENSION] whose products are exact, in whatever order they are added up."""
    drawn = np.random.default_rng(seed).normal(size=(rows, DIMENSION))
    return (np.round(drawn * 256) / 256).astype(np.float32)


def index(collection: str) -> ExactIndex:
    vectors = coarse(len(collection), MOVIES)
    return ExactIndex(np.arange(1, MOVIES + 1), vectors)


def served(collection: str, *, copy: bool = True) -> SearchTarget:
    exact = index(collection) if copy else None
    one = SearchTarget(collection, MOVIES, DIMENSION, 1.0, exact, catalogue=cast(Any, None))
    vars(one)["filters"] = SimpleNamespace(asked=lambda _: None)
    return one


@pytest.fixture
def health() -> Health:
    health = Health()
    health.begun()
    return health


def retriever(milvus: HalfLost, health: Health) -> Retriever:
    settings = load_settings(milvus={"exact_after_s": 0})
    return Retriever(settings, cast(Any, milvus), health, Metrics(CollectorRegistry()))


def retrievals(of: Retriever, release: SearchTarget) -> set[str]:
    return set(of.lists(release, QUERIES, WISHES, Cancellation()).retrievals)


def wait_until_well(health: Health) -> None:
    deadline = time.monotonic() + 30
    while health.problems:
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_milvus_lost_of_one_release_keeps_no_other_from_it(health: Health) -> None:
    lost, there = served("lost"), served("there")
    of = retriever(HalfLost("lost"), health)

    assert retrievals(of, lost) == {"exact"}
    assert retrievals(of, there) == {"milvus"}
    assert retrievals(of, lost) == {"exact"}
    assert health.problems == {"milvus": "could not search lost"}


def test_the_way_opens_when_milvus_answers_again(health: Health) -> None:
    milvus, release = HalfLost("one"), served("one")
    of = retriever(milvus, health)
    assert retrievals(of, release) == {"exact"}

    milvus.lost.clear()

    wait_until_well(health)
    assert retrievals(of, release) == {"milvus"}


def test_nobody_waits_for_the_collection_of_a_release_that_is_gone(health: Health) -> None:
    of = retriever(HalfLost("lost"), health)
    assert retrievals(of, served("lost")) == {"exact"}
    wait_until_well(health)


def test_without_a_copy_a_batch_waits_until_it_is_cancelled(health: Health) -> None:
    of = retriever(HalfLost("lost"), health)
    with pytest.raises(AbandonedError):
        of.lists(served("lost", copy=False), QUERIES, WISHES, Cancellation(seconds=0.3))


class Refusing(HalfLost):
    """A Milvus that answers the given calls with errors, and all others."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    def search(self, *arguments: Any, **options: Any) -> tuple[Ids, Vectors]:
        if self.errors:
            raise self.errors.pop(0)
        return super().search(*arguments, **options)


@pytest.mark.parametrize("copy", [True, False])
def test_a_token_refused_by_the_probe_alone_reaches_the_main_loop(health: Health, copy: bool) -> None:
    # Given a Milvus that is away for a moment, and then refuses the token once
    of = retriever(Refusing(MilvusError("away"), SettingsError("refused the token")), health)
    release = served("one", copy=copy)
    # When a batch finds it away, the probe ends; the batch does not wait for it
    assert of.lists(release, QUERIES, WISHES, Cancellation())
    # Then the main loop hears of it
    deadline = time.monotonic() + 30
    with pytest.raises(SettingsError, match="refused the token"):
        while time.monotonic() < deadline:
            of.raise_failure()
            time.sleep(0.05)


class Picky(HalfLost):
    """A Milvus that refuses one vector in a batch, whatever else it holds."""

    def __init__(self, refused: float, error: type[MilvusError] = RefusedCallError) -> None:
        super().__init__()
        self.refused, self.error, self.calls = refused, error, 0

    def search(
        self, collection: str, queries: Vectors, limit: int, *_: object, **__: object
    ) -> tuple[Ids, Vectors]:
        self.calls += 1
        if (queries[:, 0] == self.refused).any():
            raise self.error("cannot parse expression")
        return super().search(collection, queries, limit)


def test_what_milvus_refuses_of_one_batch_alone_is_told_from_milvus_being_away(health: Health) -> None:
    of, release = retriever(Picky(7.0), health), served("one", copy=False)
    refused = np.full((2, DIMENSION), 7.0, np.float32)
    for vectors in (refused, refused[:1]):
        with pytest.raises(RefusedQueriesError, match="cannot parse"):
            of.lists(release, vectors, WISHES[: len(vectors)], Cancellation())
    assert health.problems == {}
    assert retrievals(of, release) == {"milvus"}


def test_an_event_is_refused_only_after_several_tries(health: Health) -> None:
    milvus = Refusing(*[RefusedCallError("for a moment")])
    of, one = retriever(milvus, health), np.ones((1, DIMENSION), np.float32)
    assert set(of.lists(served("one", copy=False), one, WISHES[:1], Cancellation()).retrievals) == {"milvus"}


def test_what_milvus_refuses_is_searched_exactly_where_there_is_a_copy(health: Health) -> None:
    of, refused = retriever(Picky(7.0), health), np.full((2, DIMENSION), 7.0, np.float32)
    assert set(of.lists(served("one"), refused, WISHES, Cancellation()).retrievals) == {"exact"}
    assert health.problems == {}


class Slow(HalfLost):
    """A Milvus that needs too long for more than `most` vectors at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.asked: list[int] = []

    def search(
        self, collection: str, queries: Vectors, limit: int, *_: object, **__: object
    ) -> tuple[Ids, Vectors]:
        self.asked.append(len(queries))
        if len(queries) > self.most:
            raise SlowMilvusError(f"could not search {collection} in time")
        return super().search(collection, queries, limit)


def test_a_batch_that_takes_milvus_too_long_is_asked_for_in_parts(health: Health) -> None:
    # Given a Milvus that gets through 20 vectors in time, and a batch of 100
    milvus, release = Slow(most=20), served("one", copy=False)
    queries = coarse(1, 100)
    wishes = [Wish(1 + number % 5) for number in range(100)]
    # When it is asked for, then it is answered as if it had been one call, after a few that were too large
    found = retriever(milvus, health).lists(release, queries, wishes, Cancellation(seconds=30))
    whole = retriever(HalfLost(), health).lists(release, queries, wishes, Cancellation())
    assert np.array_equal(found.lists.movie_ids, whole.lists.movie_ids)
    assert np.array_equal(found.lists.scores, whole.lists.scores)
    assert np.array_equal(found.lists.lengths, whole.lists.lengths)
    assert [size for size in milvus.asked if size > 20] == [64, 32]
    wait_until_well(health)


def sizes(size: CallSize, count: int) -> list[int]:
    return [part.stop - part.start for part in size.parts(count)]


def test_calls_begin_small_and_are_soon_as_large_as_a_batch() -> None:
    size = CallSize(timeout_s=10.0)
    for most in (64, 128, 256, 512):
        assert sizes(size, 1_024) == [most] * (1_024 // most)
        # All but the first are of the size that has just been doubled.
        for count in sizes(size, 1_024):
            size.took(count, 0.1)
    assert sizes(size, 1_024) == [1_024]
    # And it stays so where batches are small.
    size.took(3, 0.1)
    assert sizes(size, 1_024) == [1_024]


def test_calls_that_took_too_long_are_halved_and_grow_with_care() -> None:
    size = CallSize(timeout_s=10.0)
    for count in (64, 128, 256, 512):
        size.took(count, 0.1)
    size.too_long(1_024)
    assert sizes(size, 1_024) == [512, 512]
    # Another batch of the same size, which was under way: it says nothing new.
    size.too_long(1_024)
    assert sizes(size, 600) == [512, 88]
    # Not by small ones, nor before enough of full size were quick in a row.
    for _ in range(100):
        size.took(88, 0.1)
        size.took(512, 1.0)
        size.took(512, 6.0)
    assert sizes(size, 1_024) == [512, 512]
    for _ in range(16):
        assert sizes(size, 1_024) == [512, 512]
        size.took(512, 1.0)
    assert sizes(size, 1_024) == [1_024]


def test_a_single_vector_cannot_be_halved() -> None:
    size = CallSize(timeout_s=10.0)
    size.too_long(1)
    assert sizes(size, 3) == [1, 1, 1]


def test_answers_of_several_calls_are_as_wide_as_the_widest() -> None:
    narrow = (np.array([[7]]), np.array([[0.5]], np.float32))
    wide = (np.array([[1, 2]]), np.array([[0.9, 0.8]], np.float32))
    ids, scores = stacked([narrow, wide])
    assert ids.tolist() == [[7, -1], [1, 2]]
    assert scores.dtype == np.float32
    assert scores[0].tolist() == [0.5, -np.inf]

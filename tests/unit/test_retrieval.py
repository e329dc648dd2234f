"""The way to an index: each release's own, closed by the first search that fails, opened by a probe."""

import gc
import time
from typing import Any, ClassVar

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from schemas.errors import SettingsError
from schemas.settings import load_settings
from tests.memory_index import MemoryIndex, MemoryStore
from tests.unit.lists import Query, queries_from
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
from worker.release.catalogue import Catalogue
from worker.retrieval.availability import CallSize
from worker.retrieval.exact import ExactIndex
from worker.retrieval.index import Hits, ItemIds, SearchTarget, Vectors
from worker.retrieval.queries import Queries
from worker.retrieval.retriever import Retriever

MOVIES, DIMENSION = 50, 8
ITEMS = ItemIds(np.arange(1, MOVIES + 1))
TWO = queries_from([Query(3), Query(5)], np.ones((2, DIMENSION), np.float32))


def coarse(seed: int, rows: int) -> Vectors:
    """Random vectors [rows, DIMENSION] whose products are exact, in whatever order they are added up."""
    drawn = np.random.default_rng(seed).normal(size=(rows, DIMENSION))
    return (np.round(drawn * 256) / 256).astype(np.float32)


class FaultyIndex(MemoryIndex):
    """Raises the given errors, one for each search; then searches."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(MemoryStore(), "faulty", ITEMS)
        self.errors = list(errors)
        self.calls: list[int] = []  # vectors of each
        self._store.create("faulty", DIMENSION)
        nothing: list[list[str]] = [[]] * MOVIES
        catalogue = Catalogue(ITEMS.ids, [""] * MOVIES, nothing, np.zeros(MOVIES, np.int32))
        self._store.insert("faulty", catalogue, coarse(1, MOVIES))

    def search(self, vectors: Vectors, k: int, **options: Any) -> Hits:
        self.calls.append(len(vectors))
        if self.errors:
            raise self.errors.pop(0)
        return super().search(vectors, k, **options)


class LostIndex(FaultyIndex):
    """A collection that Milvus has lost, until it is found."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = True

    def search(self, vectors: Vectors, k: int, **options: Any) -> Hits:
        if self.lost:
            raise MilvusError("could not search it")
        return super().search(vectors, k, **options)


class PickyIndex(FaultyIndex):
    """Refuses one vector in a batch, whatever else the batch contains."""

    def search(self, vectors: Vectors, k: int, **options: Any) -> Hits:
        if (vectors[:, 0] == 7.0).any():
            raise RefusedCallError("cannot parse expression")
        return super().search(vectors, k, **options)


class Indexes(MemoryStore):
    """Gives the indexes of `target`."""

    by_collection: ClassVar[dict[str, MemoryIndex]] = {}

    def index(self, collection: str, *_: object) -> MemoryIndex:
        return self.by_collection[collection]


def target(index: MemoryIndex, *, copy: bool = True) -> SearchTarget:
    Indexes.by_collection[f"c_{id(index)}"] = index
    exact = ExactIndex(coarse(1, MOVIES)) if copy else None
    return SearchTarget(f"c_{id(index)}", ITEMS, DIMENSION, 1.0, exact)


@pytest.fixture
def health() -> Health:
    health = Health()
    health.begun()
    return health


def retriever(health: Health, **milvus: Any) -> Retriever:
    settings = load_settings(milvus={"exact_after_s": 0} | milvus)
    return Retriever(settings, Indexes(), health, Metrics(CollectorRegistry()))


def retrievals(of: Retriever, searched: SearchTarget, queries: Queries = TWO) -> set[str]:
    return set(of.search(searched, queries, Cancellation(seconds=60)).retrievals)


def wait_until_well(health: Health) -> None:
    deadline = time.monotonic() + 30
    while health.problems:
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_collection_that_is_lost_keeps_no_other_release_from_milvus(health: Health) -> None:
    lost, whole, of = target(LostIndex()), target(FaultyIndex()), retriever(health)

    assert retrievals(of, lost) == {"exact"}
    assert retrievals(of, whole) == {"milvus"}
    assert retrievals(of, lost) == {"exact"}
    assert health.problems == {"milvus": "could not search it"}


def test_the_way_opens_when_milvus_answers_again(health: Health) -> None:
    index, of = LostIndex(), retriever(health)
    searched = target(index)
    assert retrievals(of, searched) == {"exact"}

    index.lost = False

    wait_until_well(health)
    assert retrievals(of, searched) == {"milvus"}


def test_the_collection_of_a_release_that_is_gone_is_not_probed(health: Health) -> None:
    of = retriever(health)
    assert retrievals(of, target(LostIndex())) == {"exact"}
    wait_until_well(health)


def test_without_a_copy_a_batch_waits_until_it_is_cancelled(health: Health) -> None:
    of, began = retriever(health), time.monotonic()
    with pytest.raises(AbandonedError):
        of.search(target(LostIndex(), copy=False), TWO, Cancellation(seconds=0.5))
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("copy", [True, False])
def test_a_token_refused_by_the_probe_alone_reaches_the_main_loop(health: Health, copy: bool) -> None:
    # Given a Milvus that is away for a moment, and then refuses the token once
    index = FaultyIndex(MilvusError("away"), SettingsError("refused the token"))
    of, searched = retriever(health), target(index, copy=copy)
    # When a batch meets it, the probe ends, and the batch does not wait for it
    assert retrievals(of, searched)
    # Then the main loop raises the probe's error
    deadline = time.monotonic() + 30
    with pytest.raises(SettingsError, match="refused the token"):
        while time.monotonic() < deadline:
            of.raise_failure()
            time.sleep(0.05)


def refused(count: int) -> Queries:
    return queries_from([Query(3)] * count, np.full((count, DIMENSION), 7.0, np.float32))


def test_a_batch_that_milvus_refuses_alone_does_not_close_the_way(health: Health) -> None:
    of, searched = retriever(health), target(PickyIndex(), copy=False)
    for count in (2, 1):
        with pytest.raises(RefusedQueriesError, match="cannot parse"):
            of.search(searched, refused(count), Cancellation())
    assert health.problems == {}
    assert retrievals(of, searched) == {"milvus"}


def test_an_event_is_refused_only_after_several_attempts(health: Health) -> None:
    one = queries_from([Query(3)], np.ones((1, DIMENSION), np.float32))
    searched = target(FaultyIndex(RefusedCallError("for a moment")), copy=False)
    assert retrievals(retriever(health), searched, one) == {"milvus"}


def test_a_batch_that_milvus_refuses_is_searched_exactly_where_there_is_a_copy(health: Health) -> None:
    assert retrievals(retriever(health), target(PickyIndex()), refused(2)) == {"exact"}
    assert health.problems == {}


class SlowIndex(FaultyIndex):
    """Gives up more than `most` vectors at once, and takes `seconds` for each call."""

    def __init__(self, *, most: int = 10_000, seconds: float = 0.0) -> None:
        super().__init__()
        self.most, self.seconds = most, seconds

    def search(self, vectors: Vectors, k: int, **options: Any) -> Hits:
        time.sleep(self.seconds)
        if len(vectors) > self.most:
            self.calls.append(len(vectors))
            raise SlowMilvusError("could not search it in time")
        return super().search(vectors, k, **options)


def hundred() -> Queries:
    return queries_from([Query(1 + number % 5) for number in range(100)], coarse(2, 100))


def test_a_batch_that_takes_milvus_too_long_is_searched_in_parts(health: Health) -> None:
    # Given a Milvus that searches 20 vectors in time, and a batch of 100
    index = SlowIndex(most=20)
    # When it is searched for, then the lists are those of one call, after a few that were too large
    found = retriever(health).search(target(index, copy=False), hundred(), Cancellation(seconds=30))
    whole = retriever(health).search(target(FaultyIndex(), copy=False), hundred(), Cancellation())
    assert found.lists.by_query() == whole.lists.by_query()
    assert [size for size in index.calls if size > 20] == [64, 32]
    wait_until_well(health)


class FixedSize(CallSize):
    """Ten vectors a call."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.most = 10

    def took(self, count: int, seconds: float) -> None:
        pass


def test_a_batch_whose_calls_are_slow_together_waits_and_is_named(
    health: Health, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker without a copy keeps searching, and /health/ready names the slow Milvus."""
    monkeypatch.setattr("worker.retrieval.availability.CallSize", FixedSize)
    # Given ten calls of 50 ms, and a timeout of 100 ms
    of, seen = retriever(health, timeout_s=0.1), list[str]()
    monkeypatch.setattr(health, "set", lambda _, problem: seen.append(problem or "well"))
    # When a batch is searched for
    found = of.search(target(SlowIndex(seconds=0.05), copy=False), hundred(), Cancellation())
    # Then it is answered by Milvus, and the worker was not ready meanwhile
    assert set(found.retrievals) == {"milvus"}
    assert "Milvus is slow: it searched" in seen[0]
    assert seen[-1] == "well"
    assert caplog.text.count("Milvus is slow") == 1


def test_a_batch_whose_calls_are_slow_together_is_searched_exactly_where_there_is_a_copy(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.retrieval.availability.CallSize", FixedSize)
    index = SlowIndex(seconds=0.05)
    of, searched = retriever(health, timeout_s=0.1), target(index)
    # Given a batch that took too long
    assert retrievals(of, searched, hundred()) == {"exact"}
    assert "Milvus is slow" in health.problems["milvus"]
    # When the next one comes, then it does not wait for Milvus again
    began = time.monotonic()
    assert retrievals(of, searched, hundred()) == {"exact"}
    assert time.monotonic() - began < 0.1
    # When Milvus searches as many vectors in time, then batches return to it
    index.seconds = 0.0
    wait_until_well(health)
    assert retrievals(of, searched, hundred()) == {"milvus"}


def test_a_batch_that_gave_up_once_is_finished_in_milvus(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe may be quicker than the batch, again and again."""
    monkeypatch.setattr("worker.retrieval.availability.CallSize", FixedSize)
    # Given a probe that finds Milvus quick at once, and a batch for which it is slow
    index = SlowIndex(seconds=0.05)
    of = retriever(health, timeout_s=0.1, exact_after_s=60)
    monkeypatch.setattr(of._ways, "answers", lambda *_: True)
    # When the batch is searched for, then its second attempt ends in Milvus
    found = of.search(target(index), hundred(), Cancellation(seconds=60))
    assert set(found.retrievals) == {"milvus"}
    assert health.problems == {}


def test_a_slow_batch_that_is_cancelled_ends_between_two_calls(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.retrieval.availability.CallSize", FixedSize)
    index = SlowIndex(seconds=0.05)
    with pytest.raises(AbandonedError):
        retriever(health, timeout_s=0.1).search(
            target(index, copy=False), hundred(), Cancellation(seconds=0.2)
        )
    assert len(index.calls) < 10
    assert health.problems == {}


def test_calls_begin_small_and_are_soon_as_large_as_a_batch() -> None:
    size = CallSize(timeout_s=10.0)
    for most in (64, 128, 256, 512):
        assert size.most == most
        size.took(most, 0.1)
    assert size.most == 1_024
    # And it stays so where batches are small.
    size.took(3, 0.1)
    assert size.most == 1_024


def test_calls_that_took_too_long_are_halved_and_grow_with_care() -> None:
    size = CallSize(timeout_s=10.0)
    for count in (64, 128, 256, 512):
        size.took(count, 0.1)
    size.too_long(1_024)
    assert size.most == 512
    # Another batch of the same size, which was under way, says nothing new.
    size.too_long(1_024)
    assert size.most == 512
    # Small calls do not count, nor full ones before enough were quick in a row.
    for _ in range(100):
        size.took(88, 0.1)
        size.took(512, 1.0)
        size.took(512, 6.0)
    assert size.most == 512
    for _ in range(16):
        assert size.most == 512
        size.took(512, 1.0)
    assert size.most == 1_024


def test_a_single_vector_cannot_be_halved() -> None:
    size = CallSize(timeout_s=10.0)
    size.too_long(1)
    assert size.most == 1

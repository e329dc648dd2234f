"""The checks before activation pass a right collection, and fail one that is broken on purpose."""

from typing import Any

import numpy as np
import pytest

from tests.memory_index import MemoryIndex, MemoryStore
from worker.indexer.checks import (
    SCORE_TOLERANCE,
    Agreement,
    CheckError,
    check_collection,
    compare,
    compare_evaluations,
)
from worker.release.catalogue import Catalogue
from worker.retrieval.exact import ExactIndex
from worker.retrieval.index import EF_MIN, Hits, ItemIds, Vectors

LIMIT = 5
ITEMS = ItemIds(np.arange(1_000, 1_200))


@pytest.fixture
def exact() -> ExactIndex:
    vectors = np.random.default_rng(1).normal(size=(200, 16)).astype(np.float32)
    return ExactIndex(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture
def queries() -> Vectors:
    return np.random.default_rng(2).normal(size=(20, 16)).astype(np.float32)


def agreement(hits: Hits, exact: ExactIndex, queries: Vectors, limit: int = LIMIT) -> Agreement:
    return compare(hits, exact, queries, exact.search(queries, limit).scores)


def test_exact_hits_agree(exact: ExactIndex, queries: Vectors) -> None:
    found = agreement(exact.search(queries, LIMIT), exact, queries)
    assert found.recall == 1.0
    assert found.score_error < SCORE_TOLERANCE


def test_neighbours_that_are_equal_may_swap(exact: ExactIndex, queries: Vectors) -> None:
    doubled = ExactIndex(np.concatenate([exact.vectors, exact.vectors]))
    rows, scores = doubled.search(queries, LIMIT + 1)
    rows[:, [0, 1]] = rows[:, [1, 0]]
    assert agreement(Hits(rows, scores), doubled, queries, LIMIT + 1).recall == 1.0


def test_a_wrong_order_does_not_agree(exact: ExactIndex, queries: Vectors) -> None:
    rows, scores = exact.search(queries, LIMIT)
    assert agreement(Hits(rows[:, ::-1], scores[:, ::-1]), exact, queries).recall < 1.0


def test_a_missing_movie_does_not_agree(exact: ExactIndex, queries: Vectors) -> None:
    rows, scores = exact.search(queries, LIMIT + 1)
    assert agreement(Hits(rows[:, 1:], scores[:, 1:]), exact, queries).recall < 1.0


def test_a_wrong_score_does_not_agree(exact: ExactIndex, queries: Vectors) -> None:
    rows, scores = exact.search(queries, LIMIT)
    found = agreement(Hits(rows, scores + np.float32(1e-3)), exact, queries)
    assert found.score_error > SCORE_TOLERANCE


@pytest.mark.parametrize("places", [[0, 1, 2], [0, 0, 1, 2, 3]], ids=["short", "repeating"])
def test_short_or_repeating_hits_do_not_agree(exact: ExactIndex, queries: Vectors, places: list[int]) -> None:
    rows, scores = exact.search(queries, LIMIT)
    assert agreement(Hits(rows[:, places], scores[:, places]), exact, queries).recall == 0.0


class Graph(MemoryStore):
    """A store whose searches find everything only with `needed` candidates, as HNSW does."""

    def __init__(self, exact: ExactIndex, needed: int) -> None:
        super().__init__()
        self.exact, self.needed = exact, needed

    def changed(self, scores: Vectors) -> Vectors:
        return scores

    def count(self, _: str) -> int:
        return len(self.exact.vectors)

    def index(self, collection: str, items: ItemIds, ef: int = EF_MIN) -> "GraphIndex":
        return GraphIndex(self, collection, items, ef)


class GraphIndex(MemoryIndex):
    def __init__(self, graph: Graph, collection: str, items: ItemIds, ef: int) -> None:
        super().__init__(graph, collection, items)
        self.graph, self.ef = graph, ef

    def search(self, vectors: Vectors, k: int, **_: Any) -> Hits:
        rows, scores = self.graph.exact.search(vectors, k + 1)
        found = slice(0, k) if self.ef >= self.graph.needed else slice(1, k + 1)
        return Hits(rows[:, found], self.graph.changed(scores[:, found]))


def test_an_approximate_index_is_searched_as_widely_as_it_takes(exact: ExactIndex, queries: Vectors) -> None:
    checked = check_collection(Graph(exact, 300), "c", ITEMS, exact, queries, "HNSW")
    assert (checked.index, checked.ef, checked.recall_at_5) == ("HNSW", 512, 1.0)
    with pytest.raises(CheckError, match="HNSW finds"):
        check_collection(Graph(exact, 3_000), "c", ITEMS, exact, queries, "HNSW")


def test_an_exact_index_that_misses_a_movie_is_refused(exact: ExactIndex, queries: Vectors) -> None:
    assert check_collection(Graph(exact, 64), "c", ITEMS, exact, queries, "FLAT").ef == 64
    with pytest.raises(CheckError, match="FLAT finds"):
        check_collection(Graph(exact, 65), "c", ITEMS, exact, queries, "FLAT")


def test_items_that_the_catalogue_does_not_contain_are_refused(exact: ExactIndex, queries: Vectors) -> None:
    # Given a collection with one item that is not in the catalogue
    ids = np.concatenate([[7], ITEMS.ids[1:]])
    store = MemoryStore()
    store.create("c", 16)
    store.insert("c", Catalogue(ids, [""] * 200, [[]] * 200, np.zeros(200, np.int32)), exact.vectors)
    # When it is checked, then it must not serve
    with pytest.raises(CheckError, match="not in the catalogue"):
        check_collection(store, "c", ITEMS, exact, queries, "FLAT")


def evaluation(value: Any, **fields: Any) -> dict[str, Any]:
    result = {"metric": "ndcg@10", "split": "users", "data": "abc", "value": value} | fields
    return {"release": "r", "results": [result]}


def test_an_evaluation_may_be_below_by_the_tolerance_and_no_more() -> None:
    assert "1 evaluation" in compare_evaluations(evaluation(0.099), evaluation(0.1), 0.02)
    with pytest.raises(CheckError, match=r"ndcg@10 on users is 0\.0970"):
        compare_evaluations(evaluation(0.097), evaluation(0.1), 0.02)


def test_where_less_is_better_more_is_worse() -> None:
    better = {"metric": "rmse", "higher_is_better": False}
    compare_evaluations(evaluation(0.8, **better), evaluation(0.9, **better), 0.02)
    with pytest.raises(CheckError, match="rmse"):
        compare_evaluations(evaluation(0.95, **better), evaluation(0.9, **better), 0.02)


NO_NUMBERS = [float("nan"), float("inf"), float("-inf"), None, "0.5", True, 10**400]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_figure_that_is_no_number_fails_the_check(value: Any) -> None:
    broken = evaluation(value)
    for active in (evaluation(0.1), evaluation(0.1, metric="hr@10"), None):
        with pytest.raises(CheckError, match="ndcg@10 on users is no number"):
            compare_evaluations(broken, active, 0.02)
    with pytest.raises(CheckError, match="ndcg@10 on users of the active release is no number"):
        compare_evaluations(evaluation(0.1), broken, 0.02)
    assert "no evaluation" in compare_evaluations(evaluation(0.1, metric="hr@10"), broken, 0.02)


def test_a_figure_without_a_value_fails_the_check() -> None:
    nameless = {"metric": "ndcg@10", "split": "users", "data": "abc"}
    with pytest.raises(CheckError, match="no number"):
        compare_evaluations({"release": "r", "results": [nameless]}, evaluation(0.1), 0.02)


class Nowhere(Graph):
    """A store whose scores are no numbers."""

    def changed(self, scores: Vectors) -> Vectors:
        return np.full_like(scores, np.nan)


def test_scores_that_are_no_numbers_are_refused(exact: ExactIndex, queries: Vectors) -> None:
    with pytest.raises(CheckError, match="scores differ"):
        check_collection(Nowhere(exact, 64), "c", ITEMS, exact, queries, "FLAT")


@pytest.mark.parametrize("other", [{"metric": "hr@10"}, {"split": "all"}, {"data": "xyz"}])
def test_only_the_same_metric_split_and_data_are_compared(other: dict[str, str]) -> None:
    found = compare_evaluations(evaluation(0.001, **other), evaluation(0.5), 0.02)
    assert "no evaluation" in found


def test_releases_without_evaluations_pass() -> None:
    assert "no evaluation" in compare_evaluations(None, evaluation(0.5), 0.02)
    assert "no evaluation" in compare_evaluations(evaluation(0.5), None, 0.02)
    assert "no evaluation" in compare_evaluations({"another": "shape"}, evaluation(0.5), 0.02)

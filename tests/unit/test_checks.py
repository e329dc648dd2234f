"""The check before activation: it passes what is right, and fails when it is broken on purpose."""

from typing import Any, cast

import numpy as np
import pytest

from worker.indexer.checks import SCORE_TOLERANCE, CheckError, check_collection, compare, compare_evaluations
from worker.retrieval.exact import ExactIndex
from worker.retrieval.milvus import Ids, Milvus, Scores, Vectors

LIMIT = 5


@pytest.fixture
def exact() -> ExactIndex:
    vectors = np.random.default_rng(1).normal(size=(200, 16)).astype(np.float32)
    return ExactIndex(np.arange(1_000, 1_200), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture
def queries() -> Vectors:
    return np.random.default_rng(2).normal(size=(20, 16)).astype(np.float32)


@pytest.fixture
def answer(exact: ExactIndex, queries: Vectors) -> tuple[Ids, Scores]:
    return exact.search(queries, LIMIT)


def test_exact_answers_agree(exact: ExactIndex, queries: Vectors, answer: tuple[Ids, Scores]) -> None:
    found = compare(*answer, exact, queries, exact.search(queries, LIMIT)[1])
    assert found.recall == 1.0
    assert found.score_error < SCORE_TOLERANCE


def test_neighbours_that_are_equal_may_swap(exact: ExactIndex, queries: Vectors) -> None:
    doubled = ExactIndex(
        np.concatenate([exact.movie_ids, exact.movie_ids + 1_000]),
        np.concatenate([exact.vectors, exact.vectors]),
    )
    ids, scores = doubled.search(queries, LIMIT + 1)
    swapped = ids.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    found = compare(swapped, scores, doubled, queries, doubled.search(queries, LIMIT + 1)[1])
    assert found.recall == 1.0


def test_a_wrong_order_does_not_agree(
    exact: ExactIndex, queries: Vectors, answer: tuple[Ids, Scores]
) -> None:
    ids, scores = answer
    assert (
        compare(ids[:, ::-1], scores[:, ::-1], exact, queries, exact.search(queries, LIMIT)[1]).recall < 1.0
    )


def test_a_missing_movie_does_not_agree(exact: ExactIndex, queries: Vectors) -> None:
    ids, scores = exact.search(queries, LIMIT + 1)
    assert compare(ids[:, 1:], scores[:, 1:], exact, queries, exact.search(queries, LIMIT)[1]).recall < 1.0


def test_a_wrong_score_does_not_agree(
    exact: ExactIndex, queries: Vectors, answer: tuple[Ids, Scores]
) -> None:
    ids, scores = answer
    found = compare(ids, scores + np.float32(1e-3), exact, queries, exact.search(queries, LIMIT)[1])
    assert found.score_error > SCORE_TOLERANCE


def test_a_movie_that_was_never_put_in_does_not_agree(
    exact: ExactIndex, queries: Vectors, answer: tuple[Ids, Scores]
) -> None:
    ids, scores = answer
    ids = ids.copy()
    ids[0, 0] = 7
    assert compare(ids, scores, exact, queries, exact.search(queries, LIMIT)[1]).recall == 0.0


def test_a_short_or_repeating_answer_does_not_agree(
    exact: ExactIndex, queries: Vectors, answer: tuple[Ids, Scores]
) -> None:
    ids, scores = answer
    assert compare(ids[:, :3], scores[:, :3], exact, queries, exact.search(queries, LIMIT)[1]).recall == 0.0
    assert (
        compare(ids[:, [0, 0, 1, 2, 3]], scores, exact, queries, exact.search(queries, LIMIT)[1]).recall
        == 0.0
    )


class Graph:
    """A collection whose searches find everything only with `needed` candidates, as HNSW does."""

    def __init__(self, exact: ExactIndex, needed: int) -> None:
        self._exact, self._needed = exact, needed

    def rows(self, _: str) -> int:
        return len(self._exact.movie_ids)

    def search(self, _: str, queries: Vectors, limit: int, *, ef: int) -> tuple[Ids, Scores]:
        ids, scores = self._exact.search(queries, limit + 1)
        found = slice(0, limit) if ef >= self._needed else slice(1, limit + 1)
        return ids[:, found], scores[:, found]


def test_an_approximate_index_is_searched_as_widely_as_it_takes(exact: ExactIndex, queries: Vectors) -> None:
    checked = check_collection(cast(Milvus, Graph(exact, 300)), "c", exact, queries, "HNSW")
    assert (checked.index, checked.ef, checked.recall_at_5) == ("HNSW", 512, 1.0)
    with pytest.raises(CheckError, match="HNSW finds"):
        check_collection(cast(Milvus, Graph(exact, 3_000)), "c", exact, queries, "HNSW")


def test_an_exact_index_that_misses_a_movie_is_refused(exact: ExactIndex, queries: Vectors) -> None:
    assert check_collection(cast(Milvus, Graph(exact, 64)), "c", exact, queries, "FLAT").ef == 64
    with pytest.raises(CheckError, match="FLAT finds"):
        check_collection(cast(Milvus, Graph(exact, 65)), "c", exact, queries, "FLAT")


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
    """A collection whose scores are no numbers."""

    def search(self, _: str, queries: Vectors, limit: int, *, ef: int) -> tuple[Ids, Scores]:
        ids, scores = super().search(_, queries, limit, ef=ef)
        return ids, np.full_like(scores, np.nan)


def test_scores_that_are_no_numbers_are_refused(exact: ExactIndex, queries: Vectors) -> None:
    with pytest.raises(CheckError, match="scores differ"):
        check_collection(cast(Milvus, Nowhere(exact, 64)), "c", exact, queries, "FLAT")


@pytest.mark.parametrize("other", [{"metric": "hr@10"}, {"split": "all"}, {"data": "xyz"}])
def test_only_the_same_metric_split_and_data_are_compared(other: dict[str, str]) -> None:
    found = compare_evaluations(evaluation(0.001, **other), evaluation(0.5), 0.02)
    assert "no evaluation" in found


def test_without_evaluations_it_says_so_and_passes() -> None:
    assert "no evaluation" in compare_evaluations(None, evaluation(0.5), 0.02)
    assert "no evaluation" in compare_evaluations(evaluation(0.5), None, 0.02)
    assert "no evaluation" in compare_evaluations({"another": "shape"}, evaluation(0.5), 0.02)

"""The recommender finds an index with the vectors of another release by the scores, not by names."""

import numpy as np
import pytest

from tests.unit.lists import Query, queries_from
from worker.retrieval.exact import ExactIndex
from worker.retrieval.index import ItemIds, SearchTarget, Vectors
from worker.retrieval.queries import RankedLists
from worker.serving.recommender import foreign_lists

MOVIES, DIMENSION, SCALE = 50, 8, 5.0


def target(seed: int) -> SearchTarget:
    vectors = np.random.default_rng(seed).normal(size=(MOVIES, DIMENSION)).astype(np.float32)
    items = ItemIds(np.arange(1, MOVIES + 1))
    return SearchTarget(f"c_{seed}", items, DIMENSION, SCALE, ExactIndex(vectors))


def lists_of(target: SearchTarget, queries: Vectors, ks: list[int]) -> RankedLists:
    assert target.exact is not None
    return target.exact.best(queries_from([Query(k) for k in ks], queries), scale=SCALE)


@pytest.fixture
def queries() -> Vectors:
    return np.random.default_rng(9).normal(size=(4, DIMENSION)).astype(np.float32)


def test_lists_of_the_release_s_own_vectors_pass(queries: Vectors) -> None:
    own = target(1)
    assert foreign_lists(own, queries, lists_of(own, queries, [5, 1, 3, 2])) == 0


def test_lists_of_the_vectors_of_another_release_are_found(queries: Vectors) -> None:
    assert foreign_lists(target(1), queries, lists_of(target(2), queries, [5, 1, 3, 2])) == 4


def test_lists_of_other_queries_are_found(queries: Vectors) -> None:
    own = target(1)
    assert foreign_lists(own, queries[::-1].copy(), lists_of(own, queries, [5, 1, 3, 2])) == 4


def test_an_empty_list_passes(queries: Vectors) -> None:
    nothing = RankedLists(np.array([], np.int64), np.array([], np.float64), np.array([0, 0, 0, 0]))
    assert foreign_lists(target(1), queries, nothing) == 0

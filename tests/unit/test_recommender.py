"""The recommender finds an index with the vectors of another release by the scores, not by names."""

from typing import Any, cast

import numpy as np
import pytest

from schemas.profile import PROFILE_FIELDS, Filter, ProfileEvent
from tests.unit.lists import Query, queries_from
from worker.release.features import Features, Vocabularies
from worker.retrieval.exact import ExactIndex
from worker.retrieval.index import ItemIds, SearchTarget, Vectors
from worker.retrieval.queries import QUERY_FIELDS, RankedLists, queries_of
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


class Watched:
    """A profile that remembers which of its fields were read."""

    def __init__(self, profile: ProfileEvent) -> None:
        self._profile = profile
        self.fields: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.fields.add(name)
        return getattr(self._profile, name)


def test_a_list_depends_on_no_field_that_the_cache_leaves_out() -> None:
    vocabularies = Vocabularies(
        users=[1], movies=[1, 2], genres=["a"], words=["b"], genres_length=1, title_length=1
    )
    profile = ProfileEvent(
        event_id="e",
        user_id=1,
        gender="F",
        age=30,
        occupation=2,
        recent=[1],
        k=3,
        exclude=[2],
        filter=Filter(genres=("a",)),
    )
    # The features of a model read the field of their own name
    for feature in ("user_id", *PROFILE_FIELDS, "recent"):
        watched = Watched(profile)
        Features(vocabularies).profiles(cast(Any, [watched]), [feature])
        assert watched.fields == {feature}
    # and a query reads the fields that are part of every key
    watched = Watched(profile)
    items = ItemIds(np.array([1, 2], np.int64))
    queries_of(cast(Any, [watched]), np.zeros((1, 2), np.float32), items)
    assert watched.fields == set(QUERY_FIELDS)

"""A release tells its own work from another's by what the vectors say, not by names."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters
from worker.retrieval.lists import Lists, Vectors, Wish
from worker.serving.served import ServedRelease

MOVIES, DIMENSION, SCALE = 50, 8, 5.0


def release(seed: int) -> ServedRelease:
    vectors = np.random.default_rng(seed).normal(size=(MOVIES, DIMENSION)).astype(np.float32)
    loaded = SimpleNamespace(manifest=SimpleNamespace(score_scale=SCALE, release=f"r-{seed}"))
    index = ExactIndex(np.arange(1, MOVIES + 1), vectors)
    return ServedRelease(cast(Any, loaded), f"c_{seed}", cast(Any, None), index, cast(Any, None))


def lists_of(served: ServedRelease, queries: Vectors, ks: list[int]) -> Lists:
    assert served.exact is not None
    filters = cast(Filters, SimpleNamespace(asked=None))
    return served.exact.best(queries, [Wish(k) for k in ks], scale=SCALE, asked=filters.asked)


@pytest.fixture
def queries() -> Vectors:
    return np.random.default_rng(9).normal(size=(4, DIMENSION)).astype(np.float32)


def test_its_own_lists_are_its_own(queries: Vectors) -> None:
    served = release(1)
    assert served.foreign(queries, lists_of(served, queries, [5, 1, 3, 2])) == 0


def test_lists_of_another_release_s_vectors_are_not(queries: Vectors) -> None:
    assert release(1).foreign(queries, lists_of(release(2), queries, [5, 1, 3, 2])) == 4


def test_lists_for_other_queries_are_not(queries: Vectors) -> None:
    served = release(1)
    assert served.foreign(queries[::-1].copy(), lists_of(served, queries, [5, 1, 3, 2])) == 4


def test_movies_that_it_does_not_have_are_not(queries: Vectors) -> None:
    served = release(1)
    found = lists_of(served, queries, [5, 1, 3, 2])
    assert served.foreign(queries, Lists(found.movie_ids + 1_000, found.scores, found.lengths)) == 4


def test_an_empty_list_is_nobody_s(queries: Vectors) -> None:
    nothing = Lists(np.array([], np.int64), np.array([], np.float64), np.array([0, 0, 0, 0]))
    assert release(1).foreign(queries, nothing) == 0

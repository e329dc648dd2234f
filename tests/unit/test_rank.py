"""Lists are those that fetching everything would give, however little was fetched."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.exact import ExactIndex, Ids, Vectors
from worker.rank import Pick, Wish, best_lists


def everything(index: ExactIndex, query: Vectors, wish: Wish, scale: float) -> list[Pick]:
    """The list by definition: score all, leave out, sort, cut."""
    scores = np.round((query @ index.vectors.T).astype(np.float64) * scale, 6).tolist()
    picks = [
        Pick(id_, score)
        for id_, score in zip(index.movie_ids.tolist(), scores, strict=True)
        if id_ not in wish.never
    ]
    return sorted(picks, key=lambda pick: (-pick.score, pick.movie_id))[: wish.k]


def random_index(movies: int, *, levels: int, seed: int) -> ExactIndex:
    """Movies on a line, few `levels` apart, so that many tie."""
    rng = np.random.default_rng(seed)
    vectors = (rng.integers(0, levels, (movies, 1)) / levels).astype(np.float32)
    return ExactIndex(rng.permutation(np.arange(1, movies + 1)).astype(np.int64), vectors)


class CountingSearch:
    """Exact search that remembers what it was asked for."""

    def __init__(self, index: ExactIndex) -> None:
        self._index = index
        self.asked: list[tuple[int, int]] = []

    def __call__(self, queries: Vectors, limit: int) -> tuple[Ids, Vectors]:
        self.asked.append((len(queries), limit))
        return self._index.search(queries, limit)


@given(
    movies=st.integers(1, 60),
    levels=st.integers(1, 40),
    wishes=st.lists(st.tuples(st.integers(1, 100), st.sets(st.integers(1, 60))), min_size=1, max_size=6),
    seed=st.integers(0, 1_000),
)
def test_equals_fetching_everything(
    movies: int, levels: int, wishes: Sequence[tuple[int, set[int]]], seed: int
) -> None:
    index = random_index(movies, levels=levels, seed=seed)
    wanted = [Wish(k, frozenset(never)) for k, never in wishes]
    queries = np.ones((len(wanted), 1), dtype=np.float32)

    lists = best_lists(index.search, queries, wanted, movies=movies, scale=5.0)

    assert lists == [everything(index, queries[0], wish, 5.0) for wish in wanted]


def test_one_long_list_does_not_make_all_fetch_more() -> None:
    index = random_index(1_000, levels=1_000_000, seed=7)
    search = CountingSearch(index)
    wishes = [Wish(5, frozenset())] * 63 + [Wish(100, frozenset())]

    best_lists(search, np.ones((64, 1), dtype=np.float32), wishes, movies=1_000, scale=1.0)

    assert sorted(search.asked) == [(1, 110), (63, 6)]


def test_only_the_short_ones_are_asked_again() -> None:
    index = random_index(1_000, levels=1_000_000, seed=7)
    search = CountingSearch(index)
    best = everything(index, np.ones(1, dtype=np.float32), Wish(50, frozenset()), 1.0)
    seen_the_best = Wish(5, frozenset(pick.movie_id for pick in best[:12]))

    best_lists(
        search,
        np.ones((64, 1), dtype=np.float32),
        [Wish(5, frozenset())] * 63 + [seen_the_best],
        movies=1_000,
        scale=1.0,
    )

    assert search.asked == [(64, 6), (1, 20)]


@pytest.mark.parametrize("limit", [1, 5, 300, 1_000])
def test_exact_search_gives_the_best_in_order(limit: int) -> None:
    rng = np.random.default_rng(1)
    index = ExactIndex(np.arange(300, dtype=np.int64) + 1, rng.standard_normal((300, 16)).astype(np.float32))
    queries = rng.standard_normal((600, 16)).astype(np.float32)

    ids, scores = index.search(queries, limit)

    products = queries @ index.vectors.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :limit]
    assert np.array_equal(ids, expected + 1)
    assert np.allclose(scores, np.take_along_axis(products, expected, axis=1), atol=1e-6)

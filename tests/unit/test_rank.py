"""Lists are those that fetching everything would give, however little was fetched and whichever way."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.profile import Filter
from worker.release.catalogue import Catalogue
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters
from worker.retrieval.lists import NOTHING, Ids, Lists, Pick, Vectors, Wish
from worker.retrieval.ranking import Ranked, best_lists

GENRES = ("Comedy", "Drama", "War")
SCALE = 5.0


class Movies:
    """Movies on a line, few `levels` apart, so that many tie; searched in as many ways as there are."""

    def __init__(self, movies: int, *, levels: int, seed: int, sparse: bool = False) -> None:
        rng = np.random.default_rng(seed)
        ids = rng.permutation(np.arange(1, movies + 1)).astype(np.int64)
        if sparse:
            ids[ids > movies // 2] += 2**62
        genres = [[name for name in GENRES if rng.random() < 0.4] for _ in range(movies)]
        years = rng.choice([0, 1980, 1990, 2000], movies).astype(np.int32)
        self.catalogue = Catalogue(ids, [""] * movies, genres, years)
        self.filters = Filters(self.catalogue)
        vectors = (rng.integers(0, levels, (movies, 1)) / levels).astype(np.float32)
        self.index = ExactIndex(ids, vectors)
        self.queries = rng.choice([-1.0, 1.0], (movies, 1)).astype(np.float32)
        self.asked: list[tuple[int, int]] = []

    def qualify(self, row: int, filter_: Filter | None) -> bool:
        """The filter by its definition."""
        genres, year = set(self.catalogue.genres[row]), int(self.catalogue.years[row])
        if filter_ is None:
            return True
        first, last = filter_.years or (0, 9999)
        return (
            (not filter_.genres or bool(genres & set(filter_.genres)))
            and not genres & set(filter_.not_genres or ())
            and (not filter_.years or (year > 0 and first <= year <= last))
        )

    def everything(self, query: Vectors, wish: Wish, withheld: frozenset[int] = NOTHING) -> list[Pick]:
        """The list by definition: score all, leave out, sort, cut."""
        scores = np.round((query @ self.index.vectors.T).astype(np.float64) * SCALE, 6).tolist()
        picks = [
            Pick(id_, score)
            for row, (id_, score) in enumerate(zip(self.index.movie_ids.tolist(), scores, strict=True))
            if id_ not in wish.never and id_ not in withheld and self.qualify(row, wish.filter)
        ]
        return sorted(picks, key=lambda pick: (-pick.score, pick.movie_id))[: wish.k]

    def search(self, queries: Vectors, limit: int, filter_: Filter | None) -> tuple[Ids, Vectors]:
        """As Milvus gives them: those that meet the filter, in as many columns as the longest list has."""
        self.asked.append((len(queries), limit))
        products = queries @ self.index.vectors.T
        products[:, [not self.qualify(row, filter_) for row in range(len(self.catalogue))]] = -np.inf
        longest = int(np.isfinite(products).sum(axis=1).max())
        best = np.argsort(-products, axis=1, kind="stable")[:, : min(limit, longest)]
        scores = np.take_along_axis(products, best, axis=1)
        return np.where(np.isfinite(scores), self.index.movie_ids[best], -1), scores

    def exactly(self, queries: Vectors, wishes: Sequence[Wish], withheld: frozenset[int] = NOTHING) -> Lists:
        return self.index.best(queries, wishes, scale=SCALE, asked=self.filters.asked, withheld=withheld)

    def best(self, queries: Vectors, wishes: Sequence[Wish], *, exact_too: bool = False) -> Ranked:
        return best_lists(
            self.search,
            queries,
            wishes,
            movies=len(self.catalogue),
            scale=SCALE,
            exactly=self.exactly if exact_too else None,
        )


genres = st.none() | st.lists(st.sampled_from((*GENRES, "Western")), max_size=3).map(tuple)
years = st.none() | st.sampled_from([(0, 1985), (1980, 1990), (1995, 9999), (1985, 1986)])
filters = st.none() | st.builds(Filter, genres=genres, not_genres=genres, years=years)
wishes = st.lists(
    st.builds(Wish, st.integers(1, 100), st.frozensets(st.integers(1, 70) | st.just(2**63 - 1)), filters),
    min_size=1,
    max_size=6,
)
catalogues = st.builds(
    Movies,
    st.integers(1, 300),
    levels=st.integers(1, 40),
    seed=st.integers(0, 1_000),
    sparse=st.booleans(),
)


@settings(max_examples=40)
@given(movies=catalogues, wanted=wishes, exact_too=st.booleans())
def test_milvus_and_exact_together_equal_fetching_everything(
    movies: Movies, wanted: list[Wish], exact_too: bool
) -> None:
    queries = np.resize(movies.queries, (len(wanted), 1))

    found = movies.best(queries, wanted, exact_too=exact_too)

    assert found.lists.picks() == [
        movies.everything(query, wish) for query, wish in zip(queries, wanted, strict=True)
    ]
    assert set(found.exact) >= {i for i, wish in enumerate(wanted) if wish.filter and exact_too}


@settings(max_examples=40)
@given(movies=catalogues, wanted=wishes, withheld=st.frozensets(st.integers(1, 300), max_size=20))
def test_exact_search_equals_looking_at_everything(
    movies: Movies, wanted: list[Wish], withheld: frozenset[int]
) -> None:
    queries = np.resize(movies.queries, (len(wanted), 1))

    found = movies.exactly(queries, wanted, withheld)

    assert found.picks() == [
        movies.everything(query, wish, withheld) for query, wish in zip(queries, wanted, strict=True)
    ]


@settings(max_examples=40)
@given(movies=catalogues, wanted=wishes, withheld=st.frozensets(st.integers(1, 300), max_size=20))
def test_nobody_gets_what_is_withheld(movies: Movies, wanted: list[Wish], withheld: frozenset[int]) -> None:
    queries = np.resize(movies.queries, (len(wanted), 1))

    found = best_lists(
        movies.search, queries, wanted, movies=len(movies.catalogue), scale=SCALE, withheld=withheld
    )

    assert found.lists.picks() == [
        movies.everything(query, wish, withheld) for query, wish in zip(queries, wanted, strict=True)
    ]


def test_one_long_list_does_not_make_all_fetch_more() -> None:
    movies = Movies(1_000, levels=1_000_000, seed=7)

    movies.best(np.ones((64, 1), dtype=np.float32), [Wish(5)] * 63 + [Wish(100)])

    assert sorted(movies.asked) == [(1, 110), (63, 6)]


@pytest.mark.parametrize("exact_too", [False, True])
def test_only_the_short_ones_are_asked_again(exact_too: bool) -> None:
    movies = Movies(1_000, levels=1_000_000, seed=7)
    best = movies.everything(np.ones(1, dtype=np.float32), Wish(50))
    seen_the_best = Wish(5, frozenset(pick.movie_id for pick in best[:12]))

    found = movies.best(
        np.ones((64, 1), dtype=np.float32), [Wish(5)] * 63 + [seen_the_best], exact_too=exact_too
    )

    assert found.short == [63]
    assert found.exact == ([63] if exact_too else [])
    assert movies.asked == ([(64, 6)] if exact_too else [(64, 6), (1, 20)])


@pytest.mark.parametrize("movies", [1, 50, 300, 4_000])
@pytest.mark.parametrize("limit", [1, 5, 300, 5_000])
def test_exact_search_gives_the_best_in_order(movies: int, limit: int) -> None:
    """By whole numbers, whose products every processor's kernels sum up alike."""
    rng = np.random.default_rng(1)
    vectors = rng.integers(-1_000, 1_001, (movies, 16)).astype(np.float32)
    index = ExactIndex(np.arange(movies, dtype=np.int64) + 1, vectors)
    queries = rng.integers(-1_000, 1_001, (200, 16)).astype(np.float32)

    ids, scores = index.search(queries, limit)

    products = queries @ vectors.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :limit]
    assert np.array_equal(ids, expected + 1)
    assert np.array_equal(scores, np.take_along_axis(products, expected, axis=1))

"""Ranked lists are those that fetching everything would give, however little was fetched and whichever way."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.profile import Filter, ProfileEvent
from tests.memory_index import MemoryIndex, MemoryStore
from tests.unit.lists import Query, queries_from
from worker.release.catalogue import Catalogue
from worker.retrieval.availability import CallSize
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters
from worker.retrieval.index import NO_ROWS, Hits, ItemIds, Rows, Vectors
from worker.retrieval.queries import RankedItem, RankedLists, queries_of
from worker.retrieval.ranking import Ranking, rank_all

GENRES = ("Comedy", "Drama", "War")
SCALE = 5.0


class Movies:
    """Movies on a line, few `levels` apart, so that many tie; in memory and in an exact index."""

    def __init__(self, movies: int, *, levels: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        ids = np.arange(1, movies + 1, dtype=np.int64)
        genres = [[name for name in GENRES if rng.random() < 0.4] for _ in range(movies)]
        years = rng.choice([0, 1980, 1990, 2000], movies).astype(np.int32)
        self.catalogue = Catalogue(ids, [""] * movies, genres, years)
        self.vectors = (rng.integers(0, levels, (movies, 1)) / levels).astype(np.float32)
        self.exact = ExactIndex(self.vectors, Filters(self.catalogue))
        self.store = MemoryStore()
        self.store.create("c", 1)
        self.store.insert("c", self.catalogue, self.vectors)
        self.index: MemoryIndex = self.store.index("c", ItemIds(ids))
        self.directions = rng.choice([-1.0, 1.0], (movies, 1)).astype(np.float32)

    def everything(self, query: Query, vector: Vectors, blocklist: Sequence[int] = ()) -> list[RankedItem]:
        """The list by definition: score all rows, leave out, sort, cut."""
        scores = np.round((vector @ self.vectors.T).astype(np.float64) * SCALE, 6).tolist()
        rows = [
            RankedItem(row, score)
            for row, score in enumerate(scores)
            if row not in query.exclusions
            and row not in blocklist
            and self.store.contents["c"].matches(row, query.filter)
        ]
        return sorted(rows, key=lambda item: (-item.score, item.row))[: query.k]

    def expected(
        self, queries: Sequence[Query], vectors: Vectors, blocklist: Sequence[int] = ()
    ) -> list[list[RankedItem]]:
        return [
            self.everything(query, vector, blocklist) for query, vector in zip(queries, vectors, strict=True)
        ]

    def ranked(
        self, queries: Sequence[Query], vectors: Vectors, *, exact: bool, at_a_time: int = 10_000
    ) -> tuple[Ranking, RankedLists]:
        """Rank with the index in memory, and with exact search beside it."""
        columns, size = queries_from(queries, vectors), CallSize(10.0)
        size.most = at_a_time
        ranking = Ranking(columns, rows=len(self.catalogue), scale=SCALE, has_exact=exact)
        for call in ranking.calls(size):
            hits = self.index.search(
                call.vectors, call.limit, filter_=call.filter, exclusions=call.exclusions
            )
            ranking.take(call, hits)
        left = ranking.exact
        return ranking, ranking.lists(self.exact.best(columns.take(left), scale=SCALE) if len(left) else None)


genres = st.none() | st.lists(st.sampled_from((*GENRES, "Western")), max_size=3).map(tuple)
years = st.none() | st.sampled_from([(0, 1985), (1980, 1990), (1995, 9999), (1985, 1986)])
filters = st.none() | st.builds(Filter, genres=genres, not_genres=genres, years=years)
queries = st.lists(
    st.builds(Query, st.integers(1, 100), st.frozensets(st.integers(0, 69)), filters),
    min_size=1,
    max_size=6,
)
catalogues = st.builds(Movies, st.integers(70, 300), levels=st.integers(1, 40), seed=st.integers(0, 1_000))
blocklists = st.lists(st.integers(0, 69), max_size=20, unique=True)


@settings(max_examples=40, deadline=None)
@given(movies=catalogues, asked=queries, exact=st.booleans(), at_a_time=st.sampled_from([1, 2, 100]))
def test_the_index_and_exact_search_together_equal_fetching_everything(
    movies: Movies, asked: list[Query], exact: bool, at_a_time: int
) -> None:
    vectors = np.resize(movies.directions, (len(asked), 1))

    ranking, lists = movies.ranked(asked, vectors, exact=exact, at_a_time=at_a_time)

    assert lists.by_query() == movies.expected(asked, vectors)
    assert set(ranking.exact.tolist()) >= {i for i, query in enumerate(asked) if query.filter and exact}


@settings(max_examples=40, deadline=None)
@given(movies=catalogues, asked=queries, blocklist=blocklists)
def test_exact_search_equals_looking_at_everything(
    movies: Movies, asked: list[Query], blocklist: list[int]
) -> None:
    vectors = np.resize(movies.directions, (len(asked), 1))
    columns = queries_from(asked, vectors)

    found = movies.exact.best(columns, scale=SCALE, blocklist=np.array(blocklist, np.int64))

    assert found.by_query() == movies.expected(asked, vectors, blocklist)


@settings(max_examples=40, deadline=None)
@given(movies=catalogues, asked=queries, blocklist=blocklists)
def test_the_blocklist_is_in_no_list(movies: Movies, asked: list[Query], blocklist: list[int]) -> None:
    vectors = np.resize(movies.directions, (len(asked), 1))

    found = rank_all(
        movies.index,
        queries_from(asked, vectors),
        rows=len(movies.catalogue),
        scale=SCALE,
        blocklist=np.array(blocklist, np.int64),
    )

    assert found.by_query() == movies.expected(asked, vectors, blocklist)


def ones(count: int) -> Vectors:
    return np.ones((count, 1), np.float32)


def test_one_long_list_does_not_make_all_queries_fetch_more() -> None:
    movies = Movies(1_000, levels=1_000_000, seed=7)

    movies.ranked([Query(5)] * 63 + [Query(100)], ones(64), exact=False)

    assert sorted(movies.store.searches) == [(1, 110), (63, 6)]


@pytest.mark.parametrize("exact", [False, True])
def test_only_incomplete_lists_are_searched_for_again(exact: bool) -> None:
    movies = Movies(1_000, levels=1_000_000, seed=7)
    best = movies.everything(Query(50), ones(1)[0])
    seen_the_best = Query(5, frozenset(item.row for item in best[:12]))

    ranking, _ = movies.ranked([Query(5)] * 63 + [seen_the_best], ones(64), exact=exact)

    assert ranking.short == 1
    assert ranking.exact.tolist() == ([63] if exact else [])
    assert movies.store.searches == ([(64, 6)] if exact else [(64, 6), (1, 20)])


def test_a_second_search_leaves_the_blocklist_to_the_index() -> None:
    # Given a blocklist of the best 200 movies, and no exact search
    movies = Movies(1_000, levels=1_000_000, seed=7)
    best = movies.everything(Query(200), ones(1)[0])
    blocklist = np.array([item.row for item in best], np.int64)

    rank_all(movies.index, queries_from([Query(5)], ones(1)), rows=1_000, scale=SCALE, blocklist=blocklist)

    # Then the second search need not fetch past all of them
    assert movies.store.searches == [(1, 6), (1, 10)]


@pytest.mark.parametrize("movies", [1, 50, 300, 4_000])
@pytest.mark.parametrize("limit", [1, 5, 300, 5_000])
def test_exact_search_gives_the_best_in_order(movies: int, limit: int) -> None:
    """Vectors of whole numbers: the kernels of every processor give the same products."""
    rng = np.random.default_rng(1)
    vectors = rng.integers(-1_000, 1_001, (movies, 16)).astype(np.float32)
    asked = rng.integers(-1_000, 1_001, (200, 16)).astype(np.float32)

    rows, scores = ExactIndex(vectors).search(asked, limit)

    products = asked @ vectors.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :limit]
    assert np.array_equal(rows, expected)
    assert np.array_equal(scores, np.take_along_axis(products, expected, axis=1))


@pytest.mark.parametrize("ids", [[1, 2, 5, 9], [3, 2**62, 2**63 - 1]], ids=["dense", "sparse"])
def test_item_ids_are_mapped_to_rows(ids: list[int]) -> None:
    items = ItemIds(np.array(ids))
    unknown = [4, 10, 2**62 + 1]
    assert items.rows(np.array([*reversed(ids), *unknown])).tolist() == [
        *reversed(range(len(ids))),
        *[-1] * 3,
    ]


def test_queries_follow_from_events() -> None:
    wanted = Filter(genres=("War",))
    events = [
        ProfileEvent(),
        ProfileEvent(recent=[10, 99], exclude=[30], k=7),
        ProfileEvent(filter=wanted, exclude=[20]),
        ProfileEvent(filter=Filter()),
    ]
    found = queries_of(events, np.zeros((4, 1), np.float32), ItemIds(np.array([10, 20, 30])))
    assert found.ks.tolist() == [5, 7, 5, 5]
    assert found.owners.tolist() == [1, 1, 2]
    assert found.excluded.tolist() == [0, 2, 1]
    assert found.filters == [None, None, wanted, None]


def test_hits_of_several_searches_are_as_wide_as_the_widest() -> None:
    rows: Rows = np.array([7, 1, 2])
    hits = Hits.of([1, 2, 0], rows, np.array([0.5, 0.9, 0.8], np.float32))
    assert hits.rows.tolist() == [[7, -1], [1, 2], [-1, -1]]
    assert hits.scores[0].tolist() == [0.5, -np.inf]
    assert hits.scores.dtype == np.float32
    assert Hits.of([0, 0], NO_ROWS, np.empty(0, np.float32)).rows.shape == (2, 0)

"""The contract tests of vector indexes and of index stores: a backend's tests inherit them and give the fixtures."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from schemas.profile import Filter
from worker.errors import ForeignCollectionError, MilvusError, MixedReleasesError
from worker.release.catalogue import Catalogue
from worker.retrieval.index import NO_ROWS, IndexStore, ItemIds, Metric, VectorIndex, Vectors

ROWS, DIMENSION, PREFIX = 300, 16, "it_"
OWNER = "cluster|shop."
GENRES = ("Comedy", "Drama", "War")
FILTERS = [
    Filter(genres=("Comedy",)),
    Filter(genres=("Comedy", "War"), not_genres=("Drama",)),
    Filter(years=(1985, 1995)),
    Filter(not_genres=("Drama", 'No "such" genre')),
    Filter(years=(0, 0)),
]
MakeIndex = Callable[[Metric], VectorIndex]


def unit_vectors(n: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(n, DIMENSION)).astype(np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def catalogue(rows: int = ROWS, seed: int = 1) -> Catalogue:
    """Ids with gaps, every set of genres, and some unknown years."""
    rng = np.random.default_rng(seed)
    sets = [
        [name for name, has in zip(GENRES, kind, strict=True) if has] for kind in product([0, 1], repeat=3)
    ]
    return Catalogue(
        np.arange(rows, dtype=np.int64) * 3 + 10,
        ["A title"] * rows,
        [sets[row % len(sets)] for row in range(rows)],
        rng.choice([0, 1980, 1990, 2000], rows).astype(np.int32),
    )


CATALOGUE, VECTORS, QUERIES = catalogue(), unit_vectors(ROWS, 1), unit_vectors(40, 2)


def matching(filter_: Filter | None) -> list[int]:
    """The rows that match a filter, by its definition."""
    rows = []
    for row, (genres, year) in enumerate(zip(CATALOGUE.genres, CATALOGUE.years.tolist(), strict=True)):
        filter_ = filter_ or Filter()
        first, last = filter_.years or (0, 9_999)
        if (
            (not filter_.genres or set(genres) & set(filter_.genres))
            and not set(genres) & set(filter_.not_genres or ())
            and (not filter_.years or (year > 0 and first <= year <= last))
        ):
            rows.append(row)
    return rows


def fill(
    store: IndexStore,
    name: str,
    items: Catalogue = CATALOGUE,
    vectors: Vectors = VECTORS,
    *,
    metric: Metric = "IP",
    owner: str = "",
) -> None:
    store.create(name, DIMENSION, owner)
    store.insert(name, items, vectors)
    store.finish(name, metric)


class VectorIndexContract:
    """Give a fixture `make_index` for the collection of CATALOGUE and VECTORS."""

    @pytest.mark.parametrize("metric", ["IP", "COSINE"])
    def test_the_nearest_rows_come_best_first(self, make_index: MakeIndex, metric: Metric) -> None:
        hits = make_index(metric).search(QUERIES, 10)
        products = QUERIES @ VECTORS.T
        best = np.argsort(-products, axis=1, kind="stable")[:, :10]
        assert np.array_equal(hits.rows, best)
        assert np.abs(hits.scores - np.take_along_axis(products, best, axis=1)).max() < 1e-5
        assert (hits.rows.dtype, hits.scores.dtype) == (np.dtype(np.int64), np.dtype(np.float32))

    @pytest.mark.parametrize("filter_", FILTERS, ids=str)
    @pytest.mark.parametrize("excluding", [False, True])
    def test_only_rows_that_match_and_are_not_excluded_are_found(
        self, make_index: MakeIndex, filter_: Filter, excluding: bool
    ) -> None:
        rows = matching(filter_)
        exclusions = np.array(rows[::2], np.int64) if excluding else NO_ROWS
        left = rows[1::2] if excluding else rows

        hits = make_index("IP").search(QUERIES, 20, filter_=filter_, exclusions=exclusions)

        products = QUERIES @ VECTORS[left].T
        best = np.array(left, np.int64)[np.argsort(-products, axis=1, kind="stable")[:, :20]]
        assert np.array_equal(hits.rows, best)

    def test_there_are_no_more_columns_than_rows(self, make_index: MakeIndex) -> None:
        hits = make_index("IP").search(QUERIES[:3], ROWS + 50)
        assert hits.rows.shape == hits.scores.shape == (3, ROWS)
        assert np.array_equal(np.sort(hits.rows, axis=1), np.tile(np.arange(ROWS), (3, 1)))


class IndexStoreContract:
    """Give a fixture `store` whose collections that begin with PREFIX are dropped after the test."""

    def test_a_collection_is_counted_listed_and_dropped(self, store: IndexStore) -> None:
        fill(store, "it_one")
        assert store.count("it_one") == ROWS
        assert store.list(PREFIX) == ["it_one"]
        store.drop("it_one")
        store.drop("it_one")
        assert store.list(PREFIX) == []
        with pytest.raises(MilvusError, match="could not search it_one"):
            store.index("it_one", ItemIds(CATALOGUE.movie_ids)).search(QUERIES[:1], 1)

    def test_a_collection_of_the_same_owner_is_created_again(self, store: IndexStore) -> None:
        fill(store, "it_again", owner=OWNER)
        fill(store, "it_again", catalogue(6), VECTORS[:6], owner=OWNER)
        assert store.count("it_again") == 6
        with pytest.raises(ForeignCollectionError):
            store.create("it_again", DIMENSION, "another|shop.")
        assert store.count("it_again") == 6

    def test_a_collection_is_finished_twice(self, store: IndexStore) -> None:
        fill(store, "it_twice")
        store.finish("it_twice", "IP")
        assert store.count("it_twice") == ROWS

    def test_the_owner_of_a_collection_is_read_back(self, store: IndexStore) -> None:
        store.create("it_owned", DIMENSION, OWNER)
        store.create("it_unmarked", DIMENSION)
        found = [store.owner(name) for name in ("it_owned", "it_unmarked", "it_none")]
        assert found == [OWNER, "", None]
        store.mark("it_unmarked", "another|shop-")
        assert store.owner("it_unmarked") == "another|shop-"

    def test_an_alias_moves_and_is_dropped(self, store: IndexStore) -> None:
        for name, rows in (("it_a", 2), ("it_b", 4)):
            fill(store, name, catalogue(rows), VECTORS[:rows])
            store.alias("it_people", name)
            store.alias("it_people", name)
            assert store.count("it_people") == rows
        store.drop_alias("it_people", "it_a")
        assert store.count("it_people") == 4
        store.drop_alias("it_people", "it_b")
        store.drop("it_b")
        assert store.list(PREFIX) == ["it_a"]

    def test_items_that_are_not_in_the_catalogue_are_never_found(self, store: IndexStore) -> None:
        fill(store, "it_foreign")
        index = store.index("it_foreign", ItemIds(CATALOGUE.movie_ids[:-10]))
        with pytest.raises(MixedReleasesError):
            index.search(QUERIES, ROWS)

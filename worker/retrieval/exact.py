"""Exact search over a release's own vectors: one matrix product, and of each row the best.

Sorting out the best is what used to cost most. Here each row is folded to the maxima of a few dozen classes of movies;
the k-th largest of them is a floor under the k-th best product, and only what reaches it is looked at.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from schemas.profile import Filter
from worker.retrieval.filters import Hide
from worker.retrieval.lists import NOTHING, Ids, Lists, Places, Vectors, Wish, cut, published

Asked = Callable[[Sequence[Filter]], Hide]

# Products at a time: of a catalogue of 4,000 movies, rows for 64 queries are 1 MB, which stays in a core's cache.
_BLOCK_QUERIES = (16, 64)
_BLOCK_PRODUCTS = 1 << 22
# Classes of a row at least, and for each movie that is wanted: few make a loose floor, many are work of their own.
_CLASSES, _CLASSES_A_MOVIE = 48, 8
# Foldings before the movies that reach the floor are looked for: eight of them to a place.
_COARSE = 3
# A table finds a movie's row twenty times as fast as bisection, where it is not much longer than the catalogue.
_IDS_A_MOVIE = 16
# Two products that are published as the same score differ by less than this, times 1 over the scale.
_TIE = 2e-6


@dataclass(frozen=True)
class ExactIndex:
    """The movies' vectors, row by row of the catalogue; those of a cosine release have length 1."""

    movie_ids: Ids
    vectors: Vectors

    def search(self, queries: Vectors, limit: int) -> tuple[Ids, Vectors]:
        """The `limit` movies of the largest inner product, best first: ids and products, each [queries, limit].

        Where there are fewer movies than `limit`, there are as many columns as movies.
        """
        limit = min(limit, len(self.movie_ids))
        ks = np.full(len(queries), limit, np.int64)
        rows, places, products = self._candidates(queries, ks, 0.0, _hide_nothing)
        best = cut(rows, places, products.astype(np.float64), ks)
        shape = len(queries), limit
        return self.movie_ids[best.movie_ids].reshape(shape), best.scores.astype(np.float32).reshape(shape)

    def best(
        self,
        queries: Vectors,
        wishes: Sequence[Wish],
        *,
        scale: float,
        asked: Asked,
        withheld: frozenset[int] = NOTHING,
    ) -> Lists:
        """For each of the queries [n, dimension] the best of its wish, by published score, ties by movie id.

        Args:
            asked: what hides the movies that do not qualify for some filters (`Filters.asked`).
            withheld: movies that nobody gets.
        """
        hidden = _Hidden.of(self, wishes, asked, withheld)
        ks = np.array([wish.k for wish in wishes], np.int64)
        rows, places, products = self._candidates(queries, ks, _TIE / scale, hidden.hide)
        return cut(rows, self.movie_ids[places], published(products, scale), ks)

    def places(self, movie_ids: Ids) -> Places:
        """The rows of movies; -1 of those that the catalogue lacks."""
        if self._rows is not None:
            return np.where(movie_ids < len(self._rows), self._rows.take(movie_ids, mode="clip"), -1)
        at = np.searchsorted(self.movie_ids, movie_ids, sorter=self._order).clip(max=len(self.movie_ids) - 1)
        rows = self._order[at]
        return np.where(self.movie_ids[rows] == movie_ids, rows, -1)

    @cached_property
    def _rows(self) -> Places | None:
        """Rows by movie id, -1 where there is none; None where the ids are too sparse for it."""
        size = int(self.movie_ids.max(initial=0)) + 1
        if size > _IDS_A_MOVIE * len(self.movie_ids):
            return None
        rows = np.full(size, -1, np.intp)
        rows[self.movie_ids] = np.arange(len(self.movie_ids))
        return rows

    @cached_property
    def _order(self) -> Places:
        return np.argsort(self.movie_ids)

    @cached_property
    def _folds(self) -> int:
        """How often a row can be halved before it has fewer than _CLASSES columns."""
        return max(0, (len(self.movie_ids) // _CLASSES).bit_length() - 1)

    @cached_property
    def _columns(self) -> Vectors:
        """The vectors by column, [dimension, movies], with empty ones at the end so that it can be halved."""
        movies, dimension = self.vectors.shape
        unit = 1 << self._folds
        columns = np.zeros((dimension, -(-movies // unit) * unit), np.float32)
        columns[:, :movies] = self.vectors.T
        return columns

    def _candidates(
        self, queries: Vectors, ks: Ids, slack: float, hide: Callable[[Vectors, int], None]
    ) -> tuple[Places, Places, Vectors]:
        """Of each query the `ks` best movies and some more, all that are within `slack` of the last among them.

        Args:
            hide: sets to -inf what must not be found in products [queries, movies] that begin at a query.

        Returns:
            Number of the query, row of the movie and product of each candidate, by query.
        """
        movies, width = len(self.movie_ids), self._columns.shape[1]
        low, high = _BLOCK_QUERIES
        rows = max(low, min(high, _BLOCK_PRODUCTS // max(1, width)))
        products = np.empty((min(rows, len(queries)), width), np.float32)
        found = [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32))]
        for start in range(0, len(queries), rows):
            block = products[: len(queries) - start]
            np.matmul(queries[start : start + rows], self._columns, out=block)
            block[:, movies:] = -np.inf
            hide(block[:, :movies], start)
            row, place, product = _reaching(block, ks[start : start + rows], slack, self._folds)
            found.append((row + start, place, product))
        row, place, product = map(np.concatenate, zip(*found, strict=True))
        return row, place, product


# Of vectors searched at a time: 65,536 of 200 numbers are 52 MB, and their products with 64 queries 17 MB.
_BLOCK_ROWS = 65_536


class StoredIndex:
    """Exact search over a file of vectors, a block at a time; what `ExactIndex` is in memory."""

    def __init__(self, movie_ids: Ids, path: Path) -> None:
        self.movie_ids = movie_ids
        self._path = path

    @property
    def vectors(self) -> Vectors:
        """All of them, read as they are touched."""
        mapped: Vectors = np.load(self._path, mmap_mode="r")
        return mapped

    def search(self, queries: Vectors, limit: int) -> tuple[Ids, Vectors]:
        """The `limit` movies of the largest inner product, best first: ids and products, each [queries, limit]."""
        ids: Ids = np.empty((len(queries), 0), np.int64)
        products: Vectors = np.empty((len(queries), 0), np.float32)
        for start, block in self._blocks():
            found = ExactIndex(self.movie_ids[start : start + len(block)], block).search(queries, limit)
            ids = np.concatenate([ids, found[0]], axis=1)
            products = np.concatenate([products, found[1]], axis=1)
            best = np.argsort(-products, axis=1, kind="stable")[:, :limit]
            ids = np.take_along_axis(ids, best, axis=1)
            products = np.take_along_axis(products, best, axis=1)
        return ids, products

    def _blocks(self) -> Iterator[tuple[int, Vectors]]:
        with self._path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            assert version == (1, 0)
            (rows, dimension), _, _ = np.lib.format.read_array_header_1_0(file)
            for start in range(0, rows, _BLOCK_ROWS):
                count = min(_BLOCK_ROWS, rows - start)
                yield start, np.fromfile(file, "<f4", count * dimension).reshape(count, dimension)


def _reaching(products: Vectors, ks: Ids, slack: float, folds: int) -> tuple[Places, Places, Vectors]:
    """Row, column and value of all products that reach their row's floor, and are not hidden, by row."""
    coarse = folded = products
    wanted = int(ks.max()) * _CLASSES_A_MOVIE
    for number in range(1, folds + 1):
        half = folded.shape[1] // 2
        if half < wanted:
            break
        folded = np.maximum(folded[:, :half], folded[:, half:])
        if number <= _COARSE:
            coarse = folded
    floor = _kth_largest(folded, ks)
    # Float32 is this coarse itself.
    floor -= slack + np.abs(floor) * np.float32(2**-21)
    width = coarse.shape[1]
    row, column = np.divmod(np.flatnonzero(coarse >= floor[:, None]), width)
    columns = column[:, None] + np.arange(0, products.shape[1], width)
    values = products[row[:, None], columns]
    reach = (values >= floor[row][:, None]) & (values > -np.inf)
    return np.repeat(row, reach.sum(axis=1)), columns[reach], values[reach]


def _kth_largest(values: Vectors, ks: Ids) -> Vectors:
    """Of each row its k-th largest value; -inf, a floor under everything, where it has fewer."""
    width = values.shape[1]
    places = width - np.minimum(ks, width)
    parted: Vectors = np.partition(values, np.unique(places), axis=1)[np.arange(len(values)), places]
    return np.where(ks <= width, parted, np.float32(-np.inf))


def _hide_nothing(_products: Vectors, _part: object) -> None:
    """Everything may be found."""


@dataclass(frozen=True)
class _Hidden:
    """What must not be found: movies of single events, rows that an event's filter keeps out, and what nobody gets."""

    queries: Places  # with `places`, the movies of single events, by query
    places: Places
    asking: Places  # the queries that have a filter
    unqualified: Hide  # for those
    withheld: Places

    @classmethod
    def of(
        cls, index: ExactIndex, wishes: Sequence[Wish], asked: Asked, withheld: frozenset[int]
    ) -> "_Hidden":
        lengths = [len(wish.never) for wish in wishes]
        never = np.fromiter(chain.from_iterable(wish.never for wish in wishes), np.int64, sum(lengths))
        places = index.places(never)
        known = places >= 0
        nobodys = index.places(np.array(sorted(withheld), np.int64))
        queries = np.repeat(np.arange(len(wishes)), lengths)
        filters = {number: wish.filter for number, wish in enumerate(wishes) if wish.filter is not None}
        return cls(
            queries[known],
            places[known],
            np.array(list(filters), np.intp),
            asked(list(filters.values())) if filters else _hide_nothing,
            nobodys[nobodys >= 0],
        )

    def hide(self, products: Vectors, start: int) -> None:
        """Set to -inf what the queries from `start` on must not find in their products [queries, movies]."""
        stop = start + len(products)
        first, last = np.searchsorted(self.queries, (start, stop))
        products[self.queries[first:last] - start, self.places[first:last]] = -np.inf
        if len(self.withheld):
            products[:, self.withheld] = -np.inf
        first, last = np.searchsorted(self.asking, (start, stop))
        if last - first == len(products):
            self.unqualified(products, slice(first, last))
        elif last > first:
            rows = self.asking[first:last] - start
            some = products[rows]
            self.unqualified(some, slice(first, last))
            products[rows] = some

"""Exact search over a release's own vectors: one matrix product, then the best of each row of products.

Each row of products is folded to the maxima of a few dozen classes. The k-th largest of these is a floor under the k-th best
product, so only the products that reach it are sorted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from schemas.profile import Filter
from worker.retrieval.filters import Filters, Hide
from worker.retrieval.index import NO_ROWS, Hits, Rows, Vectors
from worker.retrieval.queries import Queries, RankedLists, cut, published

# Products at a time: of a catalogue of 4,000 items, rows for 64 queries are 1 MB, which stays in a core's cache.
_BLOCK_QUERIES = (16, 64)
_BLOCK_PRODUCTS = 1 << 22
# Classes of a row at least, and for each item that is wanted: few make a loose floor, many take longer to sort.
_CLASSES, _CLASSES_PER_ITEM = 48, 8
# Foldings before the items that reach the floor are looked for: eight of them to a place.
_COARSE = 3
# Two products that are published as the same score differ by less than this, times 1 over the scale.
_TIE = 2e-6
# Rows of a file searched at a time: 65,536 of 200 numbers are 52 MB, and their products with 64 queries 17 MB.
_BLOCK_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """The vectors of a catalogue, float32 [rows, dimension]; those of a cosine release have length 1."""

    vectors: Vectors
    filters: Filters | None = None  # none are needed where no query has a filter

    def search(
        self, vectors: Vectors, k: int, *, filter_: Filter | None = None, exclusions: Rows = NO_ROWS
    ) -> Hits:
        """As `VectorIndex.search`, by inner product."""
        n = len(vectors)
        ks = np.full(n, min(k, len(self.vectors)), np.int64)
        queries = Queries(vectors, ks, filters=[filter_] * n if filter_ else None)
        owners, rows, products = self._candidates(
            queries, 0.0, _Hidden(self.filters, queries, exclusions).hide
        )
        best = cut(owners, rows, products.astype(np.float64), ks)
        return Hits.of(best.lengths, best.rows, best.scores.astype(np.float32))

    def best(self, queries: Queries, *, scale: float, blocklist: Rows = NO_ROWS) -> RankedLists:
        """The ranked list of each query; `blocklist` are rows that no query gets."""
        hidden = _Hidden(self.filters, queries, blocklist)
        owners, rows, products = self._candidates(queries, _TIE / scale, hidden.hide)
        return cut(owners, rows, published(products, scale), queries.ks)

    @cached_property
    def _folds(self) -> int:
        """How often a row of products can be halved before it has fewer than _CLASSES columns."""
        return max(0, (len(self.vectors) // _CLASSES).bit_length() - 1)

    @cached_property
    def _columns(self) -> Vectors:
        """The vectors by column, [dimension, rows], with zeros at the end so that it can be halved."""
        rows, dimension = self.vectors.shape
        unit = 1 << self._folds
        columns = np.zeros((dimension, -(-rows // unit) * unit), np.float32)
        columns[:, :rows] = self.vectors.T
        return columns

    def _candidates(
        self, queries: Queries, slack: float, hide: Callable[[Vectors, int], None]
    ) -> tuple[Rows, Rows, Vectors]:
        """The best rows of each query, and all others within `slack` of the last of them.

        Args:
            hide: sets to -inf the products [queries, rows], from a query on, that must not be found.

        Returns:
            Query, row and product of each candidate, by query.
        """
        rows, width = len(self.vectors), self._columns.shape[1]
        low, high = _BLOCK_QUERIES
        size = max(low, min(high, _BLOCK_PRODUCTS // max(1, width)))
        products = np.empty((min(size, len(queries)), width), np.float32)
        found = [(NO_ROWS, NO_ROWS, np.empty(0, np.float32))]
        for start in range(0, len(queries), size):
            block = products[: len(queries) - start]
            np.matmul(queries.vectors[start : start + size], self._columns, out=block)
            block[:, rows:] = -np.inf
            hide(block[:, :rows], start)
            query, row, product = _reaching(block, queries.ks[start : start + size], slack, self._folds)
            found.append((query + start, row, product))
        query, row, product = map(np.concatenate, zip(*found, strict=True))
        return query, row, product


class StoredIndex:
    """Exact search over a file of vectors, a block at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def vectors(self) -> Vectors:
        """All vectors, read from the file as they are touched."""
        mapped: Vectors = np.load(self._path, mmap_mode="r")
        return mapped

    def search(self, vectors: Vectors, k: int) -> Hits:
        """The k rows of the largest inner product of each vector, best first."""
        best = Hits(np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32))
        for start, block in self._blocks():
            found = ExactIndex(block).search(vectors, k)
            rows = np.concatenate([best.rows, found.rows + start], axis=1)
            scores = np.concatenate([best.scores, found.scores], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            best = Hits(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))
        return best

    def _blocks(self) -> Iterator[tuple[int, Vectors]]:
        with self._path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            assert version == (1, 0)
            (rows, dimension), _, _ = np.lib.format.read_array_header_1_0(file)
            for start in range(0, rows, _BLOCK_ROWS):
                count = min(_BLOCK_ROWS, rows - start)
                yield start, np.fromfile(file, "<f4", count * dimension).reshape(count, dimension)


def _reaching(products: Vectors, ks: Rows, slack: float, folds: int) -> tuple[Rows, Rows, Vectors]:
    """Query, column and value of all products that reach their query's floor, and are not hidden, by query."""
    coarse = folded = products
    wanted = int(ks.max()) * _CLASSES_PER_ITEM
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
    query, column = np.divmod(np.flatnonzero(coarse >= floor[:, None]), width)
    columns = column[:, None] + np.arange(0, products.shape[1], width)
    values = products[query[:, None], columns]
    reach = (values >= floor[query][:, None]) & (values > -np.inf)
    return np.repeat(query, reach.sum(axis=1)), columns[reach], values[reach]


def _kth_largest(values: Vectors, ks: Rows) -> Vectors:
    """The k-th largest value of each row; -inf, a floor under everything, where it has fewer."""
    width = values.shape[1]
    places = width - np.minimum(ks, width)
    parted: Vectors = np.partition(values, np.unique(places), axis=1)[np.arange(len(values)), places]
    return np.where(ks <= width, parted, np.float32(-np.inf))


class _Hidden:
    """The rows that queries must not find: their own exclusions, rows that do not match their filter, the blocklist."""

    def __init__(self, filters: Filters | None, queries: Queries, blocklist: Rows) -> None:
        self._queries = queries
        self._blocklist = blocklist
        self._filtered: Rows = NO_ROWS
        if queries.filters is not None:
            assert filters is not None
            asked = {place: filter_ for place, filter_ in enumerate(queries.filters) if filter_ is not None}
            self._filtered = np.array(list(asked), np.int64)
            self._unmatched: Hide = filters.hiding(list(asked.values()))

    def hide(self, products: Vectors, start: int) -> None:
        """Set the products [queries, rows] of the queries from `start` on to -inf at the rows to hide."""
        stop = start + len(products)
        queries = self._queries
        if len(queries.owners):
            first, last = np.searchsorted(queries.owners, (start, stop))
            products[queries.owners[first:last] - start, queries.excluded[first:last]] = -np.inf
        if len(self._blocklist):
            products[:, self._blocklist] = -np.inf
        first, last = np.searchsorted(self._filtered, (start, stop))
        if last - first == len(products):
            self._unmatched(products, slice(first, last))
        elif last > first:
            rows = self._filtered[first:last] - start
            some = products[rows]
            self._unmatched(some, slice(first, last))
            products[rows] = some

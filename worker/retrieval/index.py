"""The contract of a vector index and of the store that holds it, in catalogue rows and field values.

A row is the place of an item in the catalogue of its release, whose ids ascend. Item ids are mapped to rows where queries
are made, and back where results are encoded. Only a backend knows its own keys and its own filter language.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from schemas.profile import Filter
from schemas.settings import Settings
from worker.monitoring.waiting import Deadline
from worker.release.catalogue import Catalogue

if TYPE_CHECKING:
    from worker.retrieval.exact import ExactIndex

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Metric = Literal["COSINE", "IP"]
IndexType = Literal["FLAT", "HNSW"]

Names = list[str]  # `list` is a method of the store

NO_ROWS: Rows = np.empty(0, np.int64)
EF_MIN = 64
"""Candidates that a search of an HNSW index keeps; more of them find more of the nearest."""

# A table finds the row of an id twenty times as fast as bisection, where it is not much longer than the catalogue.
_TABLE_ENTRIES_PER_ID = 16
_WARM_K = 10
_WARM_SECONDS = 3.0
_WARM_STEADY = 3  # searches in a row that are no faster than the best before them
_WARM_VECTORS = 256


class Hits(NamedTuple):
    """The nearest rows of n vectors, best first, as columns.

    Attributes:
        rows: int64 [n, m]; -1 where a vector has fewer hits than the longest answer.
        scores: float32 [n, m], by the collection's metric; -inf there.
    """

    rows: Rows
    scores: Vectors

    @classmethod
    def of(cls, lengths: Sequence[int] | Rows, rows: Rows, scores: Vectors) -> Self:
        """The hits of n vectors that stand one after another, as many of each as `lengths` says."""
        n, m = len(lengths), int(max(lengths, default=0))
        if len(rows) == n * m:
            return cls(rows.reshape(n, m), scores.reshape(n, m))
        filled = np.arange(m) < np.asarray(lengths)[:, None]
        padded = cls(np.full((n, m), -1, np.int64), np.full((n, m), -np.inf, np.float32))
        padded.rows[filled], padded.scores[filled] = rows, scores
        return padded


class VectorIndex(Protocol):
    """The vectors of one collection; any number of threads may search it."""

    def search(
        self, vectors: Vectors, k: int, *, filter_: Filter | None = None, exclusions: Rows = NO_ROWS
    ) -> Hits:
        """The k nearest rows of each vector, float32 [n, dimension], by the collection's metric.

        Args:
            filter_: only rows whose field values match it are found.
            exclusions: rows that are not found, whichever vector asks.

        Raises:
            MilvusError: the server is away or slow; the call may be repeated.
            MixedReleasesError: the collection contains items that are not in the catalogue.
        """
        ...


class IndexStore(Protocol):
    """Collections of vectors on one server.

    Every call ends within about the timeout of the settings. It raises MilvusError where the server or the network fails, and
    SettingsError where the server refuses the credentials.
    """

    def index(self, collection: str, items: "ItemIds", ef: int = EF_MIN) -> VectorIndex:
        """The index of a collection whose rows are `items`. Does not connect."""
        ...

    def create(self, collection: str, dimension: int, owner: str = "") -> None:
        """Create an empty collection; drop one of the same name and owner first.

        Raises:
            ForeignCollectionError: a collection of that name has another owner.
        """
        ...

    def insert(self, collection: str, items: Catalogue, vectors: Vectors) -> None:
        """Insert items with their field values and vectors, float32 [n, dimension].

        A call that raised MilvusError must not be repeated, because the rows may be there: create another collection.
        """
        ...

    def finish(self, collection: str, metric: Metric, kind: IndexType = "FLAT") -> None:
        """Flush, index and load. May be repeated."""
        ...

    def count(self, collection: str) -> int:
        """The rows of a finished collection, counted by the server."""
        ...

    def owner(self, collection: str) -> str | None:
        """The owner of a collection, "" where none is marked, None where there is no such collection."""
        ...

    def mark(self, collection: str, owner: str) -> None:
        """Mark a collection with its owner."""
        ...

    def drop(self, collection: str) -> None:
        """Drop a collection, if it exists."""
        ...

    def list(self, prefix: str) -> Names:
        """The names of all collections that begin with `prefix`, sorted."""
        ...

    def alias(self, alias: str, collection: str) -> None:
        """Point an alias, which people use, at a collection."""
        ...

    def drop_alias(self, alias: str, collection: str) -> None:
        """Drop an alias if it points at `collection`: a server may refuse to drop a collection that has one."""
        ...

    def version(self) -> str:
        """The server's version."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class ItemIds:
    """The ids of a catalogue, int64 [rows], ascending; maps them to rows."""

    def __init__(self, ids: Rows) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Rows) -> Rows:
        """The row of each id; -1 where the catalogue does not contain it."""
        if self._table is not None:
            return np.where(ids < len(self._table), self._table.take(ids, mode="clip"), -1)
        rows = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    @cached_property
    def _table(self) -> Rows | None:
        """Rows by id, -1 where there is none; None where the ids are too sparse for a table."""
        size = int(self.ids[-1]) + 1 if len(self.ids) else 1
        if size > _TABLE_ENTRIES_PER_ID * max(1, len(self.ids)):
            return None
        table = np.full(size, -1, np.int64)
        table[self.ids] = np.arange(len(self.ids))
        return table


@dataclass(frozen=True, eq=False)  # two loads of one release are two targets
class SearchTarget:
    """The searchable part of a release.

    Attributes:
        scale: of a published score over the metric's.
        exact: the worker's own copy of the vectors; None where it would be larger than the settings allow.
        ef: candidates that a search of an HNSW index keeps.
    """

    collection: str
    items: ItemIds
    dimension: int
    scale: float
    exact: "ExactIndex | None"
    ef: int = EF_MIN


def open_store(settings: Settings) -> IndexStore:
    """The store of the backend that MARQUEE_WORKER__RETRIEVAL names. Does not connect."""
    return BACKENDS[settings.worker.retrieval](settings)


def _milvus(settings: Settings) -> IndexStore:
    from worker.retrieval.milvus import Milvus  # pymilvus takes a second to import

    return Milvus(settings.milvus)


BACKENDS: dict[str, Callable[[Settings], IndexStore]] = {
    "milvus": _milvus,
    "exact": _milvus,  # the indexer builds the collections there, and the worker searches its own copy of the vectors
}
"""The registry: a backend by the value of `retrieval` in the settings."""


def warm(index: VectorIndex, vectors: Vectors) -> None:
    """Search until searches get no faster: a collection that was just loaded answers at a tenth of its speed."""
    batch: Vectors = np.resize(vectors, (_WARM_VECTORS, vectors.shape[1]))
    deadline = Deadline(_WARM_SECONDS)
    best, steady = float("inf"), 0
    while steady < _WARM_STEADY and not deadline.passed:
        began = time.monotonic()
        index.search(batch, _WARM_K)
        seconds = time.monotonic() - began
        steady = 0 if seconds < 0.9 * best else steady + 1
        best = min(best, seconds)

"""An index store in memory, which searches by definition: the backend of the unit tests."""

from dataclasses import dataclass, field

import numpy as np

from schemas.profile import Filter
from worker.errors import ForeignCollectionError, MilvusError, MixedReleasesError
from worker.release.catalogue import Catalogue
from worker.retrieval.index import (
    EF_MIN,
    NO_ROWS,
    Hits,
    IndexType,
    ItemIds,
    Metric,
    Names,
    Rows,
    Vectors,
)


@dataclass
class Collection:
    """Items as they were inserted."""

    dimension: int
    owner: str
    metric: Metric | None = None  # none before the collection is finished
    kind: IndexType | None = None
    ids: list[int] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    genres: list[list[str]] = field(default_factory=list)
    years: list[int] = field(default_factory=list)

    def matches(self, place: int, filter_: Filter | None) -> bool:
        """The filter by its definition."""
        if filter_ is None:
            return True
        genres, year = set(self.genres[place]), self.years[place]
        return (
            (not filter_.genres or bool(genres & set(filter_.genres)))
            and not genres & set(filter_.not_genres or ())
            and (not filter_.years or (year > 0 and filter_.years[0] <= year <= filter_.years[1]))
        )


class MemoryIndex:
    """As `VectorIndex`: scores every item and sorts."""

    def __init__(self, store: "MemoryStore", collection: str, items: ItemIds) -> None:
        self._store = store
        self._name = collection
        self._items = items

    def search(
        self, vectors: Vectors, k: int, *, filter_: Filter | None = None, exclusions: Rows = NO_ROWS
    ) -> Hits:
        found = self._store.searched(self._name, len(vectors), k)
        items = np.stack(found.vectors) if found.ids else np.empty((0, found.dimension), np.float32)
        products = vectors @ items.T
        if found.metric == "COSINE":
            products = products / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(items, axis=1)
        rows = self._items.rows(np.array(found.ids, np.int64))
        if (rows < 0).any():
            raise MixedReleasesError(f"{self._name} contains items that are not in the catalogue")
        matching = [
            place
            for place, row in enumerate(rows.tolist())
            if row not in exclusions and found.matches(place, filter_)
        ]
        order = np.argsort(-products[:, matching], axis=1, kind="stable")[:, :k]
        best = np.array(matching, np.int64)[order]
        return Hits(rows[best], np.take_along_axis(products, best, axis=1).astype(np.float32))


class MemoryStore:
    """As `IndexStore`. Tests read `contents` and `searches`, and set `lost` and `failures`."""

    def __init__(self) -> None:
        self.contents: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}
        self.searches: list[tuple[int, int]] = []  # vectors and k of each
        self.lost: set[str] = set()  # collections whose searches fail
        self.failures = 0  # inserts to come that fail

    def searched(self, collection: str, count: int, k: int) -> Collection:
        """Take note of a search, and find its collection."""
        self.searches.append((count, k))
        if collection in self.lost or collection not in self.contents:
            raise MilvusError(f"could not search {collection}")
        return self.contents[collection]

    def index(self, collection: str, items: ItemIds, ef: int = EF_MIN) -> MemoryIndex:  # noqa: ARG002
        return MemoryIndex(self, collection, items)

    def create(self, collection: str, dimension: int, owner: str = "") -> None:
        if collection in self.contents and self.contents[collection].owner != owner:
            raise ForeignCollectionError(f"a collection {collection} has another owner")
        self.contents[collection] = Collection(dimension, owner)

    def insert(self, collection: str, items: Catalogue, vectors: Vectors) -> None:
        into = self.contents[collection]
        into.ids += items.movie_ids.tolist()
        into.vectors += list(vectors)
        into.genres += items.genres
        into.years += items.years.tolist()
        if self.failures:
            self.failures -= 1
            raise MilvusError("no room")

    def finish(self, collection: str, metric: Metric, kind: IndexType = "FLAT") -> None:
        self.contents[collection].metric = metric
        self.contents[collection].kind = kind

    def count(self, collection: str) -> int:
        return len(self.contents[self.aliases.get(collection, collection)].ids)

    def owner(self, collection: str) -> str | None:
        return self.contents[collection].owner if collection in self.contents else None

    def mark(self, collection: str, owner: str) -> None:
        self.contents[collection].owner = owner

    def drop(self, collection: str) -> None:
        self.contents.pop(collection, None)

    def list(self, prefix: str) -> Names:
        return sorted(name for name in self.contents if name.startswith(prefix))

    def alias(self, alias: str, collection: str) -> None:
        self.aliases[alias] = collection

    def drop_alias(self, alias: str, collection: str) -> None:
        if self.aliases.get(alias) == collection:
            del self.aliases[alias]

    def version(self) -> str:
        return "memory"

    def close(self) -> None:
        pass

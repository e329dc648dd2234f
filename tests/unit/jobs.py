"""Jobs and collections in memory, so that commands and builds run without servers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.releases import ReleasesView
from worker.errors import MilvusError
from worker.indexer.job import Job
from worker.indexer.state import Records
from worker.monitoring.http import Health
from worker.retrieval.exact import ExactIndex
from worker.retrieval.milvus import Ids, Scores, Vectors

OWNER = "cluster|marquee."


class DirectJob(Job):
    """A job whose records are in its view at once, and in `published`."""

    def __init__(self, view: ReleasesView | None = None) -> None:
        super().__init__("test", lambda _: None, view or ReleasesView(), Health())
        self.published: list[tuple[Records, bool]] = []

    def publish(self, records: Records, *, done: bool = False) -> None:
        self.check()
        self.published.append((records, done))
        for key, record in records.items():
            self.view.apply(key.encode(), record.model_dump_json().encode() if record else None)


class MemoryMilvus:
    """Collections in memory, searched exactly; the next `failures` inserts fail."""

    def __init__(self) -> None:
        self.contents: dict[str, list[tuple[Ids, Vectors]]] = {}
        self.failures = 0
        self.finished: list[str] = []

    def create(self, collection: str, _dimension: int, _owner: str) -> None:
        self.contents[collection] = []

    def insert(
        self,
        collection: str,
        movie_ids: Ids,
        vectors: Vectors,
        _years: npt.NDArray[np.integer],
        _genres: Sequence[Sequence[str]],
    ) -> None:
        self.contents[collection].append((movie_ids, vectors))
        if self.failures:
            self.failures -= 1
            raise MilvusError("no room")

    def finish(self, collection: str, _metric: str, _kind: str) -> None:
        self.finished.append(collection)

    def rows(self, collection: str) -> int:
        return sum(len(movie_ids) for movie_ids, _ in self.contents[collection])

    def search(self, collection: str, queries: Vectors, limit: int, **_: int) -> tuple[Ids, Scores]:
        movie_ids, vectors = zip(*self.contents[collection], strict=True)
        return ExactIndex(np.concatenate(movie_ids), np.concatenate(vectors)).search(queries, limit)

    def owner(self, collection: str) -> str | None:
        return OWNER if collection in self.contents else None

    def drop(self, collection: str) -> None:
        del self.contents[collection]

    def collections(self, prefix: str) -> list[str]:
        return sorted(name for name in self.contents if name.startswith(prefix))

    def point_alias(self, alias: str, collection: str) -> None:
        pass

    def close(self) -> None:
        pass

"""Indexing holds a batch of the catalogue in memory, however many movies there are."""

import tracemalloc
from pathlib import Path
from typing import Any, cast

import pytest

from tests.releases import write_untrained_release
from worker.indexer.build import build_collection
from worker.indexer.checks import check_collection, probe_queries
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.release.vectors import VectorsFile
from worker.retrieval.exact import StoredIndex
from worker.retrieval.milvus import Ids, Milvus, Scores, Vectors

DIMENSION = 8
BATCH = 1_024


class Rows:
    """A Milvus that counts what it is given, and answers as exact search does."""

    def __init__(self) -> None:
        self.count = 0
        self.exact: StoredIndex | None = None

    def create(self, *_: object) -> None:
        self.count = 0

    def insert(self, _: str, movie_ids: Ids, *__: Any) -> None:
        self.count += len(movie_ids)

    def rows(self, _: str) -> int:
        return self.count

    def search(self, _: str, queries: Vectors, limit: int, **__: int) -> tuple[Ids, Scores]:
        assert self.exact is not None
        return self.exact.search(queries, limit)


def index(release: Release, folder: Path) -> int:
    """Bytes that building and checking held at most, beyond what was there before."""
    milvus, manifest = Rows(), release.manifest
    tracemalloc.start()
    try:
        file = VectorsFile(folder / "vectors.npy", manifest.movies, DIMENSION)
        with file as vectors:
            build_collection(cast(Milvus, milvus), release, "c", vectors, BATCH, lambda _: None)
        milvus.exact = StoredIndex(release.movie_ids, file.path)
        queries = probe_queries(release, 8)
        checked = check_collection(cast(Milvus, milvus), "c", milvus.exact, queries, "FLAT")
        assert checked.recall_at_5 == 1.0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_more_movies_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.retrieval.exact._BLOCK_ROWS", BATCH)
    held = {}
    for movies in (20_000, 60_000):
        folder = tmp_path / str(movies)
        store = ReleaseStore(write_untrained_release(folder / "store", movies, DIMENSION))
        held[movies] = index(store.load(store.names()[0], device="cpu"), folder)

    # A movie's title and genres alone would be 200 bytes, its vector 32.
    assert held[60_000] - held[20_000] < 40_000 * 20, held

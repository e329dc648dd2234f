"""A release with more movies has the same towers, and embeds no movie twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ops.offline.extend import SameMovieError, extend_release
from schemas.release import ReleaseRecord, ReleaseState
from schemas.releases import ReleasesView
from tests.testbed.indexing import keep_vectors
from worker.indexer.build import known_vectors
from worker.release.catalogue import Catalogue
from worker.release.store import ReleaseStore
from worker.release.tower import Inputs
from worker.serving.loader import embed_catalogue

pytestmark = pytest.mark.paddle


@pytest.fixture
def store(fusion_store: str, tmp_path: Path) -> ReleaseStore:
    """A store of the test's own, with one fusion release."""
    return ReleaseStore(str(shutil.copytree(fusion_store, tmp_path / "store")))


NEW = Catalogue.of({7_001: ("Quiet Horizon (2026)", ["Comedy"]), 7_002: ("Zzyzx (2026)", ["Drama"])})


def test_a_release_with_more_movies(store: ReleaseStore) -> None:
    first = store.names()[0]

    written = extend_release(store, first, NEW)

    one, two = store.load(first), store.load(written.release)
    assert written.extends == first
    assert written.movies == len(two.catalogue) == len(one.catalogue) + 2
    vectors = embed_catalogue(one)
    sha256 = keep_vectors(store, first, vectors)
    record = ReleaseRecord(release=first, state=ReleaseState.ACTIVE, vectors_sha256=sha256)
    known = known_vectors(store, written, ReleasesView(releases={first: record}))
    assert known is not None
    embedded: list[int] = []
    tower = two.movie_tower.embed

    def embed(inputs: Inputs) -> NDArray[np.float32]:
        embedded.append(len(inputs["movie_id"]))
        return tower(inputs)

    two.movie_tower.embed = embed  # type: ignore[method-assign]

    parts = list(two.embedded_movies(100, known))

    assert embedded == [2]
    movie_ids = np.concatenate([movies.movie_ids for movies, _ in parts])
    found = np.concatenate([part for _, part in parts])
    assert np.array_equal(movie_ids, two.catalogue.movie_ids)
    assert np.array_equal(found[np.isin(movie_ids, one.catalogue.movie_ids)], vectors)
    assert np.allclose(found, embed_catalogue(two), atol=1e-6)


def test_unknown_movies_are_embedded(store: ReleaseStore) -> None:
    written = extend_release(store, store.names()[0], NEW)
    assert written.extends is not None
    record = ReleaseRecord(release=written.extends, state=ReleaseState.ACTIVE, vectors_sha256="0" * 64)

    assert known_vectors(store, written, ReleasesView()) is None
    assert known_vectors(store, written, ReleasesView(releases={written.extends: record})) is None
    assert known_vectors(store, store.manifest(written.extends), ReleasesView()) is None


def test_a_movie_that_is_there_is_refused(store: ReleaseStore) -> None:
    release = store.names()[0]
    there = int(store.catalogue(release).movie_ids[0])

    with pytest.raises(SameMovieError, match=f"has movie {there} already"):
        extend_release(store, release, Catalogue.of({there: ("Again (1999)", [])}))

"""A release ready to answer: its towers, the collection that belongs to them, and all that answering takes."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import orjson

from schemas.profile import ProfileEvent
from schemas.settings import Settings
from worker.batch import Record
from worker.checks import unit_length, warm
from worker.encode import RecommendationEncoder
from worker.errors import MilvusError, ReleaseError
from worker.exact import ExactIndex, Vectors
from worker.milvus import Milvus
from worker.release import Release
from worker.store import ReleaseStore

log = logging.getLogger(__name__)

# Movies embedded at a time where the indexer's vectors cannot be read.
_EMBED_MOVIES = 4_096


@dataclass(frozen=True, eq=False)  # each is itself: two loads of one release are two
class ServedRelease:
    """Towers and collection that belong together, and all that answering takes of them."""

    release: Release
    collection: str
    encoder: RecommendationEncoder
    exact: ExactIndex

    @property
    def name(self) -> str:
        """The release's name."""
        return self.release.manifest.release

    def made(self, record: Record) -> bool:
        """Whether a recommendation names this release and this collection."""
        return self._names in (record.value or b"")

    @cached_property
    def _names(self) -> bytes:
        return b'"release":%b,"collection":%b,' % (orjson.dumps(self.name), orjson.dumps(self.collection))


class ReleaseLoader:
    """Loads releases beside whatever serves; one thread uses it."""

    def __init__(self, settings: Settings, milvus: Milvus) -> None:
        self._settings = settings
        self._milvus = milvus
        self._store = ReleaseStore(settings.store)

    def load(self, release: str, collection: str, vectors_sha256: str | None) -> ServedRelease:
        """Every file checked, towers and vectors in memory, the collection warm.

        Raises:
            ReleaseError: it is missing, incomplete, corrupt, or the collection is another release's.
            OSError: the store cannot be read.
        """
        if not self._settings.names.is_collection_of(release, collection):
            raise ReleaseError(f"the collection {collection} is none of release {release}")
        worker = self._settings.worker
        loaded = self._store.load(release, device=worker.device, threads=worker.embed_threads)
        encoder = RecommendationEncoder(
            self._settings.names.recommendations,
            release,
            collection,
            loaded.catalogue,
            loaded.manifest.stars,
        )
        exact = ExactIndex(loaded.catalogue.movie_ids, self._vectors(loaded, vectors_sha256))
        served = ServedRelease(loaded, collection, encoder, exact)
        self._warm(served)
        return served

    def _vectors(self, release: Release, sha256: str | None) -> Vectors:
        """The vectors that the indexer kept, or the same made anew where they cannot be read."""
        if sha256:
            try:
                return self._store.read_vectors(release.manifest.release, sha256)
            except ReleaseError as error:
                log.warning("embedding the movies here: %s", error)
        return embed_catalogue(release)

    def _warm(self, served: ServedRelease) -> None:
        vectors = served.release.embed_profiles([ProfileEvent()])
        try:
            warm(self._milvus, served.collection, vectors)
        except MilvusError as error:
            log.warning("serving without having warmed: %s", error)


def embed_catalogue(release: Release) -> Vectors:
    """The vectors of every movie, float32 [movies, dimension], whose inner product ranks."""
    movies = len(release.catalogue)
    starts = range(0, movies, _EMBED_MOVIES)
    vectors = np.concatenate([release.embed_movies(at, min(at + _EMBED_MOVIES, movies)) for at in starts])
    return unit_length(vectors, release.manifest)

"""Loading a release beside whatever serves: files checked, towers and vectors in memory, the collection warm."""

import logging
from concurrent.futures import Future

import numpy as np
from threadpoolctl import threadpool_limits

from schemas.profile import ProfileEvent
from schemas.settings import Settings
from worker.errors import MilvusError, ReleaseError
from worker.monitoring.threads import start_vital
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.release.vectors import unit_length
from worker.retrieval.exact import ExactIndex
from worker.retrieval.lists import Vectors
from worker.retrieval.milvus import EF_MIN, Milvus, warm
from worker.serving.cache import ListCache
from worker.serving.encoder import RecommendationEncoder
from worker.serving.served import ServedRelease

log = logging.getLogger(__name__)

# Movies embedded at a time where the indexer's vectors cannot be read.
_EMBED_MOVIES = 4_096


class ReleaseLoader:
    """Loads releases beside whatever serves, one at a time."""

    def __init__(self, settings: Settings, milvus: Milvus) -> None:
        self._settings = settings
        self._milvus = milvus
        self._store = ReleaseStore(settings.store)
        # Of numpy's product in exact search: two threads take twice the time of two cores that are in use anyway.
        threadpool_limits(settings.worker.embed_threads, user_api="blas")

    def begin(
        self, release: str, collection: str, vectors_sha256: str | None, ef: int | None
    ) -> Future[ServedRelease]:
        """As `load`, in a thread of its own."""
        loading: Future[ServedRelease] = Future()

        def load() -> None:
            loading.set_result(self.load(release, collection, vectors_sha256, ef))

        start_vital(f"load-{release}", load, loading.set_exception)
        return loading

    def load(
        self, release: str, collection: str, vectors_sha256: str | None, ef: int | None = None
    ) -> ServedRelease:
        """Ready to answer, and the collection warm. Raises as `read`."""
        served = self.read(release, collection, vectors_sha256, ef)
        self._warm(served)
        return served

    def read(
        self, release: str, collection: str, vectors_sha256: str | None, ef: int | None = None
    ) -> ServedRelease:
        """Every file checked, towers and vectors in memory; Milvus is not asked.

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
        exact = self._exact(loaded, vectors_sha256)
        cache = ListCache(worker.cached_lists, worker.cache_max_mb * 2**20)
        return ServedRelease(loaded, collection, encoder, exact, cache, ef or EF_MIN)

    def _exact(self, release: Release, sha256: str | None) -> ExactIndex | None:
        manifest, worker = release.manifest, self._settings.worker
        size = manifest.movies * manifest.dimension * np.dtype(np.float32).itemsize
        if size <= worker.exact_max_mb * 1_000_000:
            return ExactIndex(release.catalogue.movie_ids, self._vectors(release, sha256))
        for needs, what, instead in (
            (worker.retrieval == "exact", "exact retrieval", "RETRIEVAL to milvus"),
            (worker.diversity > 0, "diversity", "DIVERSITY to 0"),
        ):
            if needs:
                raise ReleaseError(
                    f"its vectors take {size / 1e6:.0f} MB, and {what} wants a copy of {worker.exact_max_mb} MB at most: "
                    f"raise MARQUEE_WORKER__EXACT_MAX_MB, or set MARQUEE_WORKER__{instead}"
                )
        return None

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

"""A release ready to answer: its towers, the collection that belongs to them, and all that answering takes."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import orjson
from threadpoolctl import threadpool_limits

from schemas.profile import ProfileEvent
from schemas.settings import Settings
from worker.batch import Record
from worker.cache import ListCache
from worker.checks import unit_length, warm
from worker.encode import RecommendationEncoder
from worker.errors import MilvusError, ReleaseError
from worker.exact import ExactIndex
from worker.filters import Filters
from worker.lists import Lists, Vectors
from worker.milvus import Milvus
from worker.release import Release
from worker.store import ReleaseStore

log = logging.getLogger(__name__)

# Movies embedded at a time where the indexer's vectors cannot be read.
_EMBED_MOVIES = 4_096
# Between what a server computes and what we do, relatively; two releases are further apart.
_SCORES_WITHIN = 1e-3


@dataclass(frozen=True, eq=False)  # each is itself: two loads of one release are two
class ServedRelease:
    """Towers and collection that belong together, and all that answering takes of them."""

    release: Release
    collection: str
    encoder: RecommendationEncoder
    exact: ExactIndex | None  # None where the copy would be larger than the settings allow
    cache: ListCache

    @cached_property
    def filters(self) -> Filters:
        """The masks of what events ask for, over the catalogue."""
        return Filters(self.release.catalogue)

    @property
    def name(self) -> str:
        """The release's name."""
        return self.release.manifest.release

    def foreign(self, vectors: Vectors, lists: Lists) -> int:
        """How many lists are not this release's work: their first movie's score is not its own for the query.

        A collection with another release's vectors, or a query embedded by another's towers, is found out by it. Where the
        worker holds no copy of the vectors, nothing can be told.

        Args:
            vectors: what the user tower gave, float32 [n, dimension]; lists: n, made from them.
        """
        some = lists.lengths > 0
        starts = (np.cumsum(lists.lengths) - lists.lengths)[some]
        if self.exact is None:
            return 0
        rows = self.exact.places(lists.movie_ids[starts])
        own = np.einsum("nd,nd->n", vectors[some], self.exact.vectors[rows])
        own *= self.release.manifest.score_scale
        apart = np.abs(own - lists.scores[starts]) > _SCORES_WITHIN * np.maximum(1.0, np.abs(own))
        return int(np.count_nonzero(apart | (rows < 0)))

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
        # Of numpy's product in exact search: two threads take twice the time of two cores that are in use anyway.
        threadpool_limits(settings.worker.embed_threads, user_api="blas")

    def load(self, release: str, collection: str, vectors_sha256: str | None) -> ServedRelease:
        """Ready to answer, and the collection warm. Raises as `read`."""
        served = self.read(release, collection, vectors_sha256)
        self._warm(served)
        return served

    def read(self, release: str, collection: str, vectors_sha256: str | None) -> ServedRelease:
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
        return ServedRelease(loaded, collection, encoder, exact, ListCache(worker.cached_lists))

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

"""Loading a release to serve it: files checked, model, catalogue and vectors in memory."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import orjson
from threadpoolctl import threadpool_limits

from schemas.release import ActiveRecord, ReleaseRecord, TrialRecord
from schemas.settings import Settings
from worker.errors import ReleaseError
from worker.events import Record
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.release.vectors import unit_length
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters
from worker.retrieval.index import EF_MIN, ItemIds, SearchTarget, Vectors
from worker.retrieval.queries import QUERY_FIELDS
from worker.serving.cache import ListCache
from worker.serving.encoder import RecommendationEncoder

log = logging.getLogger(__name__)

# Movies embedded at a time where the vectors of the indexer cannot be read.
_EMBED_MOVIES = 4_096


@dataclass(frozen=True, eq=False)  # two loads of one release are not equal
class ServedRelease:
    """A loaded release: the model and the search target that belong together, its encoder and its cache."""

    release: Release
    target: SearchTarget
    encoder: RecommendationEncoder
    cache: ListCache

    @property
    def name(self) -> str:
        """The release's name."""
        return self.release.manifest.release

    @property
    def collection(self) -> str:
        """The collection that is searched."""
        return self.target.collection

    def made(self, record: Record) -> bool:
        """Whether a recommendation names this release and this collection."""
        # The names are near the end, where a search from there finds them in half the time.
        return (record.value or b"").rfind(self._names) >= 0

    @cached_property
    def _names(self) -> bytes:
        return b'"release":%b,"collection":%b,' % (orjson.dumps(self.name), orjson.dumps(self.collection))


class ReleaseLoader:
    """Loads releases beside those that serve, one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = ReleaseStore(settings.store)
        # Threads of numpy's product in exact search: two take twice the time of one where both cores are busy.
        threadpool_limits(settings.worker.embed_threads, user_api="blas")

    def load(self, wanted: ActiveRecord | TrialRecord, record: ReleaseRecord | None = None) -> ServedRelease:
        """Load a release; Milvus is not called.

        Args:
            record: the release's own record, with the hash of its vectors and the parameters of its index.

        Raises:
            ReleaseError: the release is missing, incomplete or corrupt, or the collection is another release's.
            OSError: the store cannot be read.
        """
        settings, worker = self._settings, self._settings.worker
        name, collection = wanted.release, wanted.collection
        if not settings.names.is_collection_of(name, collection):
            raise ReleaseError(f"the collection {collection} is none of release {name}")
        release = self._store.load(name, device=worker.device, threads=worker.embed_threads)
        catalogue, manifest = release.catalogue, release.manifest
        target = SearchTarget(
            collection,
            ItemIds(catalogue.movie_ids),
            manifest.dimension,
            manifest.score_scale,
            exact=self._copy(release, record.vectors_sha256 if record else None),
            ef=(record.ef if record else None) or EF_MIN,
        )
        topic = settings.names.recommendations
        encoder = RecommendationEncoder(topic, name, collection, catalogue, manifest.stars)
        fields = dict.fromkeys((*release.user_tower.inputs, *QUERY_FIELDS))
        cache = ListCache(worker.cached_lists, worker.cache_max_mb * 2**20, fields=list(fields))
        return ServedRelease(release, target, encoder, cache)

    def _copy(self, release: Release, sha256: str | None) -> ExactIndex | None:
        """The worker's own copy of the vectors; None where the settings have no room for it."""
        manifest, worker = release.manifest, self._settings.worker
        size = manifest.movies * manifest.dimension * np.dtype(np.float32).itemsize
        if size <= worker.exact_max_mb * 1_000_000:
            return ExactIndex(self._vectors(release, sha256), Filters(release.catalogue))
        for needed, what, instead in (
            (worker.retrieval == "exact", "exact retrieval", "RETRIEVAL to milvus"),
            (worker.diversity > 0, "diversity", "DIVERSITY to 0"),
        ):
            if needed:
                raise ReleaseError(
                    f"its vectors take {size / 1e6:.0f} MB, and {what} needs a copy of at most {worker.exact_max_mb} MB: "
                    f"raise MARQUEE_WORKER__EXACT_MAX_MB, or set MARQUEE_WORKER__{instead}"
                )
        return None

    def _vectors(self, release: Release, sha256: str | None) -> Vectors:
        """The vectors that the indexer stored; where they cannot be read, embed the movies again."""
        if sha256:
            try:
                return self._store.read_vectors(release.manifest.release, sha256)
            except ReleaseError as error:
                log.warning("embedding the movies of %s here: %s", release.manifest.release, error)
        return embed_catalogue(release)


def embed_catalogue(release: Release) -> Vectors:
    """The vectors of every movie, float32 [movies, dimension], ranked by inner product."""
    movies = len(release.catalogue)
    starts = range(0, movies, _EMBED_MOVIES)
    vectors = np.concatenate([release.embed_movies(at, min(at + _EMBED_MOVIES, movies)) for at in starts])
    return unit_length(vectors, release.manifest)

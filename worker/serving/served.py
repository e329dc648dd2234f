"""A release ready to answer: its towers, the collection that belongs to them, and all that answering takes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import orjson

from worker.events import Record
from worker.release.release import Release
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters
from worker.retrieval.lists import Lists, Vectors
from worker.retrieval.milvus import EF_MIN
from worker.serving.cache import ListCache
from worker.serving.encoder import RecommendationEncoder

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
    ef: int = EF_MIN  # candidates that a search of an HNSW index keeps

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
        # They stand near the end, where looking backwards finds them in half the time.
        return (record.value or b"").rfind(self._names) >= 0

    @cached_property
    def _names(self) -> bytes:
        return b'"release":%b,"collection":%b,' % (orjson.dumps(self.name), orjson.dumps(self.collection))

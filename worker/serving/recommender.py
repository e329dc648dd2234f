"""Profiles and a blocklist in, ranked lists out: the model and the search of one release, without Kafka."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np

from schemas.profile import ProfileEvent
from worker.errors import ForeignVectorsError, MixedReleasesError, NoNumberError
from worker.monitoring.failpoints import failpoint
from worker.monitoring.threads import Cancellation
from worker.monitoring.waiting import back_off
from worker.release.release import Release
from worker.retrieval.diversity import Diversity
from worker.retrieval.index import SearchTarget, Vectors
from worker.retrieval.queries import Queries, RankedLists, queries_of
from worker.retrieval.retriever import FoundLists, search_exactly

log = logging.getLogger(__name__)

Search = Callable[[SearchTarget, Queries, Cancellation, frozenset[int]], FoundLists]

_FIRST_BACKOFF_SECONDS = 0.05
_LONGEST_BACKOFF_SECONDS = 2.0
# Relative difference between a score of the index and ours; the scores of two releases are further apart.
_SCORES_WITHIN = 1e-3


class Observer(Protocol):
    """Measures a recommender."""

    def stage(self, name: str) -> AbstractContextManager[None]: ...
    def mismatch(self, results: int) -> None: ...


class _Unobserved:
    @contextmanager
    def stage(self, name: str) -> Iterator[None]:  # noqa: ARG002
        yield

    def mismatch(self, results: int) -> None:
        """Count nothing."""


class Recommender:
    """Recommends with any release; several threads may use one."""

    def __init__(
        self, search: Search = search_exactly, *, diversity: float = 0.0, observer: Observer | None = None
    ) -> None:
        """Search exactly, where no other search is given: this needs neither Milvus nor a deployment."""
        self._search = search
        self._diversity = Diversity(diversity) if diversity else None
        self._observer = observer or _Unobserved()

    def recommend(
        self,
        release: Release,
        target: SearchTarget,
        profiles: Sequence[ProfileEvent],
        cancellation: Cancellation | None = None,
        blocklist: frozenset[int] = frozenset(),
    ) -> FoundLists:
        """The ranked lists of n profiles, without the movies of the blocklist.

        Raises:
            AbandonedError, SupersededError: the token was cancelled while the index was away.
            NoNumberError: the vector of a profile has a component that is no number.
            MixedReleasesError: the index holds the vectors of another release.
            RefusedQueriesError, SettingsError: as the search.
        """
        cancellation = cancellation or Cancellation()
        # 1. Embed the profiles.
        with self._observer.stage("embed"):
            vectors = self._embed(release, profiles, cancellation)
        failpoint("after-embed")
        # 2. Search for the lists, or for the pools that diverse lists are chosen from.
        with self._observer.stage("search"):
            queries = queries_of(profiles, vectors, target.items)
            pools = self._diversity.pools(queries) if self._diversity else queries
            found = self._search(target, pools, cancellation, blocklist)
            if self._diversity:
                assert target.exact is not None  # the loader refuses the release otherwise
                chosen = self._diversity.choose(found.lists, queries.ks, target.exact.vectors)
                found = replace(found, lists=chosen)
        failpoint("after-search")
        # 3. Check that model and index belong together.
        if foreign_lists(target, vectors, found.lists):
            name = release.manifest.release
            raise MixedReleasesError(f"{target.collection} does not hold the vectors of release {name}")
        return found

    def _embed(
        self, release: Release, profiles: Sequence[ProfileEvent], cancellation: Cancellation
    ) -> Vectors:
        """Embed n profiles, float32 [n, dimension]; embed again while the tower returns the vectors of another batch."""
        name = release.manifest.release
        pauses = back_off(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS)
        while True:
            try:
                vectors = release.embed_profiles(profiles)
                break
            except ForeignVectorsError as error:
                self._observer.mismatch(len(profiles))
                log.warning("embedding %d events with release %s again: %s", len(profiles), name, error)
            cancellation.check()
            time.sleep(next(pauses))
        if not np.isfinite(vectors).all():
            raise NoNumberError(f"the user tower of release {name} returned a vector with NaN or infinity")
        return vectors


def foreign_lists(target: SearchTarget, vectors: Vectors, lists: RankedLists) -> int:
    """Count the lists whose first score is not the product of the query and the release's own vector of that movie.

    Finds an index with the vectors of another release, and a query that another release embedded. Finds nothing where
    the worker holds no copy of the vectors.

    Args:
        vectors: of the user tower, float32 [n, dimension]; lists: n, made from them.
    """
    if target.exact is None:
        return 0
    some = lists.lengths > 0
    starts = (np.cumsum(lists.lengths) - lists.lengths)[some]
    own = np.einsum("nd,nd->n", vectors[some], target.exact.vectors[lists.rows[starts]])
    own *= target.scale
    apart = np.abs(own - lists.scores[starts]) > _SCORES_WITHIN * np.maximum(1.0, np.abs(own))
    return int(np.count_nonzero(apart))

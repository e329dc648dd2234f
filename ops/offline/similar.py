"""Movies that are similar to others, by the vectors of the active release."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from producer.withdrawals import read_withdrawals
from schemas.errors import MarqueeError
from schemas.recommendation import SCORE_PLACES, RecommendedMovie
from schemas.settings import Settings
from worker.kafka.reader import read_releases
from worker.release.catalogue import Catalogue
from worker.release.store import ReleaseStore


class UnknownMovieError(MarqueeError):
    """The active release has no such movie."""


def similar_movies(
    settings: Settings, like: Sequence[int], k: int, timeout_s: float
) -> tuple[str, list[RecommendedMovie]]:
    """Rank the `k` movies of the active release nearest to those of `like`, without them and without the blocklist.

    The score is the cosine between a movie's vector and the mean of the unit vectors of `like`.

    Raises:
        UnknownMovieError: the release lacks a movie of `like`.
        MarqueeError: no release is active, or its vectors are not in the store.
        UnreachableError: Kafka cannot be reached.
    """
    view = read_releases(settings, timeout_s)
    record = view.releases.get(view.active.release) if view.active else None
    if record is None or record.vectors_sha256 is None:
        raise MarqueeError("no release is active yet: `marquee reindex RELEASE --wait` activates one")
    store = ReleaseStore(settings.store)
    catalogue = store.catalogue(record.release)
    rows = [catalogue.position(movie_id) for movie_id in like]
    missing = [movie_id for movie_id, row in zip(like, rows, strict=True) if row is None]
    if missing:
        raise UnknownMovieError(
            f"the active release {record.release} has no movie {', '.join(map(str, missing))}; check the ids"
        )
    vectors = store.read_vectors(record.release, record.vectors_sha256)
    scores = _cosines(vectors, np.array(rows, np.int64))
    scores[np.isin(catalogue.movie_ids, [*like, *read_withdrawals(settings, timeout_s)])] = -np.inf
    order = np.lexsort((catalogue.movie_ids, -scores))[:k]
    return record.release, _ranked(catalogue, order[np.isfinite(scores[order])], scores)


def _cosines(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cosine of each vector and the mean of the unit vectors of `rows`, float64 [movies]."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    mean = unit[rows].mean(axis=0)
    cosines = (unit @ (mean / max(float(np.linalg.norm(mean)), 1e-12))).astype(np.float64)
    rounded: NDArray[np.float64] = np.round(cosines, SCORE_PLACES)
    return rounded


def _ranked(
    catalogue: Catalogue, order: NDArray[np.int64], scores: NDArray[np.float64]
) -> list[RecommendedMovie]:
    return [
        RecommendedMovie(
            rank=rank,
            movie_id=int(catalogue.movie_ids[row]),
            title=catalogue.titles[row],
            genres=catalogue.genres[row],
            score=float(scores[row]),
        )
        for rank, row in enumerate(order.tolist(), 1)
    ]

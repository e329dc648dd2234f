"""Movies that are like others, by the vectors of the release that serves."""

from collections.abc import Sequence

import numpy as np

from schemas.errors import MarqueeError
from schemas.recommendation import SCORE_PLACES, RecommendedMovie
from schemas.settings import Settings


class UnknownMovieError(MarqueeError):
    """The active release has no such movie."""


def similar_movies(
    settings: Settings, like: Sequence[int], k: int, timeout_s: float
) -> tuple[str, list[RecommendedMovie]]:
    """The active release, and its `k` movies nearest to those of `like`, without them and without what is withdrawn.

    The score is the cosine between a movie's vector and the mean of the others' vectors, each of length 1 before.

    Raises:
        UnknownMovieError: the release lacks one of them.
        MarqueeError: no release is active, or its vectors are not in the store.
        UnreachableError: Kafka cannot be reached.
    """
    from producer.withdrawals import read_withdrawals
    from worker.kafka.reader import read_releases
    from worker.release.store import ReleaseStore

    view = read_releases(settings, timeout_s)
    record = view.releases.get(view.active.release) if view.active else None
    if record is None or record.vectors_sha256 is None:
        raise MarqueeError("no release is active yet: `marquee reindex RELEASE --wait` makes one so")
    store = ReleaseStore(settings.store)
    catalogue = store.catalogue(record.release)
    rows = [catalogue.position(movie_id) for movie_id in like]
    missing = [movie_id for movie_id, row in zip(like, rows, strict=True) if row is None]
    if missing:
        raise UnknownMovieError(
            f"the active release {record.release} has no movie {', '.join(map(str, missing))}; check the ids"
        )
    vectors = store.read_vectors(record.release, record.vectors_sha256)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    wanted = unit[np.array(rows, np.int64)].mean(axis=0)
    scores = np.round(
        (unit @ (wanted / max(float(np.linalg.norm(wanted)), 1e-12))).astype(np.float64), SCORE_PLACES
    )
    scores[np.isin(catalogue.movie_ids, [*like, *read_withdrawals(settings, timeout_s)])] = -np.inf
    order = np.lexsort((catalogue.movie_ids, -scores))[:k]
    return record.release, [
        RecommendedMovie(
            rank=rank,
            movie_id=int(catalogue.movie_ids[row]),
            title=catalogue.titles[row],
            genres=catalogue.genres[row],
            score=float(scores[row]),
        )
        for rank, row in enumerate(order.tolist(), 1)
        if np.isfinite(scores[row])
    ]

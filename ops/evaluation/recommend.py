"""The lists of a release for the users of a split, made as in production: events, towers, exact search."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from ops.evaluation import metrics
from ops.evaluation.holdout import Case
from schemas.profile import MAX_EXCLUDE, ProfileEvent
from schemas.recommendation import SCORE_PLACES
from worker.release.release import Release
from worker.release.vectors import unit_length
from worker.retrieval.diversity import POOL

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]

# Cases, and movies, embedded and scored at a time.
AT_A_TIME = 1_000


class Recommender:
    """A release, and the data whose people it is asked about."""

    def __init__(self, release: Release, data: MovieLens) -> None:
        self._release = release
        self._profiles = data.users.profiles()
        self._ids = data.movies.movie_ids
        count = len(release.catalogue)
        parts = [
            release.embed_movies(start, min(start + AT_A_TIME, count)) for start in range(0, count, AT_A_TIME)
        ]
        self.movies: Vectors = unit_length(np.concatenate(parts), release.manifest)

    def event(self, case: Case) -> ProfileEvent:
        """The event of a case; seen movies before `recent` are excluded, as many as an event takes."""
        profile = self._profiles[case.user]
        older = case.seen[~np.isin(case.seen, case.recent)][-MAX_EXCLUDE:]
        return profile.model_copy(
            update={
                "user_id": profile.user_id if case.named else None,
                "recent": self._ids[case.recent].tolist() or None,
                "exclude": self._ids[older].tolist() or None,
                "k": metrics.CUT,
            }
        )

    def lists(self, cases: list[Case], among: NDArray[np.bool_] | None = None) -> Rows:
        """The first 10 movies of each case, rows [n, 10], without seen ones; only from `among`, if given."""
        return np.concatenate([rows for rows, _ in self._best(cases, among, metrics.CUT)])

    def pools(self, cases: list[Case], among: NDArray[np.bool_] | None = None) -> tuple[Rows, Scores]:
        """Pools of diverse lists: the first movies of each case, as `lists`, and their scores, each [n, POOL];
        -1 and -inf where there are no more."""
        rows, scores = zip(*self._best(cases, among, POOL), strict=True)
        return np.concatenate(rows), np.concatenate(scores)

    def _best(
        self, cases: list[Case], among: NDArray[np.bool_] | None, places: int
    ) -> Iterator[tuple[Rows, Scores]]:
        for start in range(0, len(cases), AT_A_TIME):
            part = cases[start : start + AT_A_TIME]
            scores = self.scores(part)
            if among is not None:
                scores[:, ~among] = -np.inf
            rows = metrics.top(scores, [case.seen for case in part], places)
            yield rows, np.where(rows >= 0, np.take_along_axis(scores, rows, axis=1), -np.inf)

    def scores(self, cases: list[Case]) -> Scores:
        """Scores of every movie for each case, rounded as in results: [n, movies]."""
        vectors = unit_length(
            self._release.embed_profiles([self.event(case) for case in cases]), self._release.manifest
        )
        exact = (vectors @ self.movies.T).astype(np.float64) * self._release.manifest.score_scale
        return np.round(exact, SCORE_PLACES)

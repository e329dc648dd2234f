"""Explains a list by occlusion: each input of the event is left out once, and the scores without it are compared.

Two inputs that carry the same information explain each other away: neither gets a pull for it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ops.offline.release import OfflineRelease
from schemas.profile import PROFILE_FIELDS, ProfileEvent
from schemas.recommendation import SCORE_PLACES
from worker.release.release import Release
from worker.release.vectors import unit_length


@dataclass(frozen=True)
class Pull:
    """The contribution of an input to a score: the score, less the score without the input."""

    what: str  # `gender F`, or the title of a movie of the history
    movie_id: int | None
    score: float


@dataclass(frozen=True)
class Explanation:
    """A recommended movie with its pulls, strongest first."""

    movie_id: int
    title: str
    score: float
    pulls: list[Pull]


@dataclass(frozen=True)
class _Occlusion:
    """An input of an event, its movie if it is one, and the event without the input."""

    what: str
    movie_id: int | None
    event: ProfileEvent


def explain(offline: OfflineRelease, event: ProfileEvent) -> list[Explanation]:
    """Recommend to an event, and explain each movie. `exclude` and `filter` are no inputs of the model, and pull nothing."""
    release, exact = offline.served.release, offline.served.target.exact
    assert exact is not None  # an offline release searches exactly
    (ranked,) = offline.recommend([event])
    occlusions = _occlusions(release, event)
    events = [event, *(occlusion.event for occlusion in occlusions)]
    vectors = unit_length(release.embed_profiles(events), release.manifest)
    rows = offline.served.target.items.rows(np.array([movie.movie_id for movie in ranked], np.int64))
    movies = exact.vectors[rows]
    scores = (vectors @ movies.T).astype(np.float64) * release.manifest.score_scale
    pulls = np.round(scores[0] - scores[1:], SCORE_PLACES)
    return [
        Explanation(*movie, _strongest_first(occlusions, pulls[:, column]))
        for column, movie in enumerate(ranked)
    ]


def _occlusions(release: Release, event: ProfileEvent) -> list[_Occlusion]:
    inputs = release.user_tower.inputs
    occlusions = [
        _Occlusion(f"{field} {getattr(event, field)}", None, event.model_copy(update={field: None}))
        for field in ("user_id", *PROFILE_FIELDS)
        if field in inputs and getattr(event, field) is not None
    ]
    recent = (event.recent or []) if "recent" in inputs else []
    for place, movie_id in enumerate(recent):
        row = release.catalogue.position(movie_id)
        if row is not None:  # a movie that the release does not know is no input
            rest = event.model_copy(update={"recent": recent[:place] + recent[place + 1 :]})
            occlusions.append(_Occlusion(release.catalogue.titles[row], movie_id, rest))
    return occlusions


def _strongest_first(occlusions: list[_Occlusion], scores: NDArray[np.float64]) -> list[Pull]:
    pulls = [
        Pull(occlusion.what, occlusion.movie_id, score)
        for occlusion, score in zip(occlusions, scores.tolist(), strict=True)
    ]
    return sorted(pulls, key=lambda pull: -pull.score)

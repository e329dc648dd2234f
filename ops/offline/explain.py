"""Why a movie is recommended: each thing that the event says is left out once, and what that does to the score is seen.

Leave-one-out of the inputs (occlusion). What two things say alike counts for neither alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.profile import DEFAULT_K, ProfileEvent
from schemas.recommendation import SCORE_PLACES
from worker.release.release import Release
from worker.release.vectors import unit_length
from worker.retrieval.diversity import Diversity
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters
from worker.retrieval.lists import Wish

PROFILE_FIELDS = ("user_id", "gender", "age", "occupation")
_MOVIES_AT_A_TIME = 4_096


@dataclass(frozen=True)
class Pull:
    """What one input adds to a score: the score less what it is without that input."""

    what: str  # `gender F`, or the title of a movie of the history
    movie_id: int | None
    score: float


@dataclass(frozen=True)
class Explanation:
    """A recommended movie, and what pulled it there, strongest first."""

    movie_id: int
    title: str
    score: float
    pulls: list[Pull]


def explain(release: Release, event: ProfileEvent, diversity: float = 0.0) -> list[Explanation]:
    """The list that the release has for an event, by exact search, as diverse as set, and each movie's pulls.

    What is never an input of the model (`exclude`, `filter`) decides what stands in the list, and pulls nothing.
    """
    said = _said(release, event)
    vectors = unit_length(
        release.embed_profiles([event, *(without for _, _, without in said)]), release.manifest
    )
    movies = _movie_vectors(release)
    wish = Wish(
        event.k or DEFAULT_K, frozenset(event.recent or ()) | frozenset(event.exclude or ()), event.filter
    )
    index = ExactIndex(release.catalogue.movie_ids, movies)
    choice = Diversity(diversity)
    pool = index.best(
        vectors[:1],
        choice.pools([wish]),
        scale=release.manifest.score_scale,
        asked=Filters(release.catalogue).asked,
    )
    best = choice.choose(pool, [wish], index)
    places = index.places(best.movie_ids)
    scores = (vectors @ movies[places].T).astype(np.float64) * release.manifest.score_scale
    pulls = np.round(scores[0] - scores[1:], SCORE_PLACES)
    return [
        Explanation(
            int(movie_id),
            release.catalogue.titles[place],
            float(score),
            _strongest_first(said, pulls[:, column]),
        )
        for column, (movie_id, place, score) in enumerate(
            zip(best.movie_ids.tolist(), places.tolist(), best.scores.tolist(), strict=True)
        )
    ]


Said = list[tuple[str, int | None, ProfileEvent]]


def _said(release: Release, event: ProfileEvent) -> Said:
    """Each thing that an event says: its name, its movie, and the event without it."""
    inputs = release.user_tower.inputs
    said: Said = [
        (f"{field} {getattr(event, field)}", None, event.model_copy(update={field: None}))
        for field in PROFILE_FIELDS
        if field in inputs and getattr(event, field) is not None
    ]
    recent = (event.recent or []) if "recent" in inputs else []
    for place, movie_id in enumerate(recent):
        row = release.catalogue.position(movie_id)
        if row is not None:  # one that is not known says nothing
            without = event.model_copy(update={"recent": recent[:place] + recent[place + 1 :]})
            said.append((release.catalogue.titles[row], movie_id, without))
    return said


def _strongest_first(said: Said, pulls: NDArray[np.float64]) -> list[Pull]:
    each = [
        Pull(what, movie_id, float(pull))
        for (what, movie_id, _), pull in zip(said, pulls.tolist(), strict=True)
    ]
    return sorted(each, key=lambda pull: -pull.score)


def _movie_vectors(release: Release) -> NDArray[np.float32]:
    count = len(release.catalogue)
    parts = [
        release.embed_movies(start, min(start + _MOVIES_AT_A_TIME, count))
        for start in range(0, count, _MOVIES_AT_A_TIME)
    ]
    return unit_length(np.concatenate(parts), release.manifest)

"""Two releases side by side: what the same profiles are recommended by each."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ops.offline.release import OfflineRelease
from schemas.errors import MarqueeError
from schemas.headers import Headers
from schemas.profile import AGE_GROUPS, OCCUPATIONS
from schemas.settings import Settings
from worker.events import Answer

TOP = 5
_BATCH = 256
_LONGEST_HISTORY = 20


@dataclass(frozen=True)
class Profile:
    """A profile as an event that nobody published; `number` is its line, from 1."""

    number: int
    body: bytes

    def topic(self) -> str:
        return "profiles"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.number

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return self.body

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def headers(self) -> Headers | None:
        return None


@dataclass(frozen=True)
class Changed:
    """One profile and the first five movies that each release gives it, as (movie id, title, score)."""

    profile: dict[str, Any]
    overlap: float
    before: list[tuple[int, str, float]]
    after: list[tuple[int, str, float]]


@dataclass(frozen=True)
class Difference:
    """What changes from release `before` to release `after`.

    `overlap_at_5`: mean share of the first five that both give. `rank_shift`: mean distance in places of a movie that both
    give. `score_shift`: mean score of the first five after, less before; scores of two models may have two scales.
    `coverage`: share of its catalogue that a release recommends to anybody here. `unreadable`: profiles that are none.
    """

    before: str
    after: str
    profiles: int
    unreadable: int
    overlap_at_5: float
    rank_shift: float
    score_shift: float
    coverage: tuple[float, float]
    unchanged: float
    most_changed: list[Changed]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def generated_profiles(movie_ids: Sequence[int], count: int, seed: int) -> Iterator[Profile]:
    """Profiles of every kind, a tenth with nothing known of them, the same ones for the same seed."""
    chance = random.Random(seed)
    for number in range(1, count + 1):
        event: dict[str, Any] = {}
        if chance.random() >= 0.1:
            event = {
                "gender": chance.choice("FM"),
                "age": chance.choice(AGE_GROUPS),
                "occupation": chance.randrange(len(OCCUPATIONS)),
                "recent": chance.sample(movie_ids, min(len(movie_ids), chance.randint(0, _LONGEST_HISTORY))),
            }
        yield Profile(number, json.dumps(event).encode())


def read_profiles(path: Path) -> Iterator[Profile]:
    """Profiles of a file, one JSON object a line.

    Raises:
        MarqueeError: it cannot be read.
    """
    try:
        with path.open("rb") as lines:
            yield from (Profile(number, line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        raise MarqueeError(f"{path} cannot be read: {error.strerror}") from None


def compare(
    settings: Settings,
    before: str,
    after: str,
    profiles: Iterable[Profile] | int,
    *,
    seed: int = 0,
    top: int = 5,
) -> Difference:
    """Answer each profile with both releases; a number of `profiles` has so many generated from the common movies.

    Raises:
        ReleaseError: a release is missing, incomplete or corrupt.
        MarqueeError: there is no profile.
    """
    releases = [OfflineRelease(settings, name) for name in (before, after)]
    catalogues = [release.served.release.catalogue.movie_ids.tolist() for release in releases]
    if isinstance(profiles, int):
        common = sorted(set(catalogues[0]) & set(catalogues[1]))
        profiles = generated_profiles(common, profiles, seed)
    asked = list(profiles)
    pairs = [
        (profile, _movies(old), _movies(new))
        for start in range(0, len(asked), _BATCH)
        for batch in [asked[start : start + _BATCH]]
        for profile, old, new in zip(batch, *(release.answer(batch) for release in releases), strict=True)
    ]
    readable = [
        _changed(profile, old, new) for profile, old, new in pairs if old is not None and new is not None
    ]
    if not readable:
        raise MarqueeError("there is no profile that could be answered: give some, one JSON object a line")
    common_places = [shift for changed in readable for shift in _rank_shifts(changed)]
    least = sorted(readable, key=lambda changed: (changed.overlap, -abs(_score_shift(changed))))
    return Difference(
        before,
        after,
        profiles=len(readable),
        unreadable=len(pairs) - len(readable),
        overlap_at_5=fmean(changed.overlap for changed in readable),
        rank_shift=fmean(common_places) if common_places else 0.0,
        score_shift=fmean(_score_shift(changed) for changed in readable),
        coverage=(
            _coverage((changed.before for changed in readable), len(catalogues[0])),
            _coverage((changed.after for changed in readable), len(catalogues[1])),
        ),
        unchanged=fmean(
            [movie for movie, *_ in changed.before] == [movie for movie, *_ in changed.after]
            for changed in readable
        ),
        most_changed=least[:top],
    )


def _movies(answer: Answer) -> list[tuple[int, str, float]] | None:
    """The first five of a recommendation; None where there is none."""
    if answer.reason is not None:
        return None
    listed = json.loads(answer.record.value or b"{}")["movies"][:TOP]
    return [(movie["movie_id"], movie["title"], movie["score"]) for movie in listed]


def _changed(
    profile: Profile, before: list[tuple[int, str, float]], after: list[tuple[int, str, float]]
) -> Changed:
    both = {movie for movie, *_ in before} & {movie for movie, *_ in after}
    longest = max(len(before), len(after))
    return Changed(json.loads(profile.body), len(both) / longest if longest else 1.0, before, after)


def _rank_shifts(changed: Changed) -> list[int]:
    places = {movie: place for place, (movie, *_) in enumerate(changed.before)}
    return [abs(place - places[movie]) for place, (movie, *_) in enumerate(changed.after) if movie in places]


def _score_shift(changed: Changed) -> float:
    if not changed.before or not changed.after:
        return 0.0
    return fmean(score for *_, score in changed.after) - fmean(score for *_, score in changed.before)


def _coverage(lists: Iterable[list[tuple[int, str, float]]], movies: int) -> float:
    return len({movie for listed in lists for movie, *_ in listed}) / movies

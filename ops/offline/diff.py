"""Two releases compared: the lists that the same profiles get from each."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ops.offline.release import OfflineRelease, Scored
from schemas.errors import MarqueeError
from schemas.profile import AGE_GROUPS, OCCUPATIONS, ProfileEvent
from schemas.settings import Settings
from worker.events import decode

TOP = 5
_BATCH = 256
_LONGEST_HISTORY = 20


@dataclass(frozen=True)
class Changed:
    """A profile, as JSON, and the first five movies that each release recommends to it."""

    profile: dict[str, Any]
    before: list[Scored]
    after: list[Scored]

    @property
    def overlap(self) -> float:
        """Share of the longer list that is in both."""
        both = {movie.movie_id for movie in self.before} & {movie.movie_id for movie in self.after}
        longest = max(len(self.before), len(self.after))
        return len(both) / longest if longest else 1.0

    @property
    def rank_shifts(self) -> list[int]:
        """Distances in places of the movies that are in both lists."""
        places = {movie.movie_id: place for place, movie in enumerate(self.before)}
        return [
            abs(place - places[movie.movie_id])
            for place, movie in enumerate(self.after)
            if movie.movie_id in places
        ]

    @property
    def score_shift(self) -> float:
        """Mean score after, less the mean score before."""
        if not self.before or not self.after:
            return 0.0
        return fmean(movie.score for movie in self.after) - fmean(movie.score for movie in self.before)

    @property
    def is_same(self) -> bool:
        """Whether both lists have the same movies in the same order."""
        return [movie.movie_id for movie in self.before] == [movie.movie_id for movie in self.after]

    def as_json(self) -> dict[str, Any]:
        """The change as JSON values."""
        return {
            "profile": self.profile,
            "overlap": self.overlap,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True)
class Difference:
    """The change from release `before` to release `after`.

    `overlap_at_5`: mean share of the first five movies that are in both lists. `rank_shift`: mean distance in places of a
    movie that is in both. `score_shift`: mean score of the first five after, less that before; two models may have two
    scales. `coverage`: share of its catalogue that each release recommends here. `unreadable`: invalid profiles.
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
        """The difference as JSON values."""
        return asdict(self) | {"most_changed": [changed.as_json() for changed in self.most_changed]}


def generated_profiles(movie_ids: Sequence[int], count: int, seed: int) -> Iterator[bytes]:
    """Generate profile events of every kind, a tenth of them empty; the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        event: dict[str, Any] = {}
        if chance.random() >= 0.1:
            event = {
                "gender": chance.choice("FM"),
                "age": chance.choice(AGE_GROUPS),
                "occupation": chance.randrange(len(OCCUPATIONS)),
                "recent": chance.sample(movie_ids, min(len(movie_ids), chance.randint(0, _LONGEST_HISTORY))),
            }
        yield json.dumps(event).encode()


def read_profiles(path: Path) -> Iterator[bytes]:
    """Read profile events from a file, one JSON object a line.

    Raises:
        MarqueeError: the file cannot be read.
    """
    try:
        with path.open("rb") as lines:
            yield from (line for line in lines if line.strip())
    except OSError as error:
        raise MarqueeError(f"{path} cannot be read: {error.strerror}") from None


def compare(
    settings: Settings,
    before: str,
    after: str,
    profiles: Iterable[bytes] | int,
    *,
    seed: int = 0,
    top: int = 5,
) -> Difference:
    """Recommend to each profile with both releases. A number of `profiles` generates as many, from the common movies.

    Raises:
        ReleaseError: a release is missing, incomplete or corrupt.
        MarqueeError: no profile is valid.
    """
    releases = [OfflineRelease(settings, name) for name in (before, after)]
    catalogues = [release.served.release.catalogue.movie_ids.tolist() for release in releases]
    if isinstance(profiles, int):
        common = sorted(set(catalogues[0]) & set(catalogues[1]))
        profiles = generated_profiles(common, profiles, seed)
    bodies = list(profiles)
    changes = list(_changes(releases, bodies))
    if not changes:
        raise MarqueeError("no profile is valid: one JSON object a line is expected")
    shifts = [shift for changed in changes for shift in changed.rank_shifts]
    return Difference(
        before,
        after,
        profiles=len(changes),
        unreadable=len(bodies) - len(changes),
        overlap_at_5=fmean(changed.overlap for changed in changes),
        rank_shift=fmean(shifts) if shifts else 0.0,
        score_shift=fmean(changed.score_shift for changed in changes),
        coverage=(
            _coverage((changed.before for changed in changes), len(catalogues[0])),
            _coverage((changed.after for changed in changes), len(catalogues[1])),
        ),
        unchanged=fmean(changed.is_same for changed in changes),
        most_changed=sorted(changes, key=lambda changed: (changed.overlap, -abs(changed.score_shift)))[:top],
    )


def _changes(releases: Sequence[OfflineRelease], bodies: Sequence[bytes]) -> Iterator[Changed]:
    decoded = [(body, decode(body)) for body in bodies]
    valid = [(body, profile) for body, profile in decoded if isinstance(profile, ProfileEvent)]
    for start in range(0, len(valid), _BATCH):
        batch = valid[start : start + _BATCH]
        lists = [release.recommend([profile for _, profile in batch]) for release in releases]
        for (body, _), old, new in zip(batch, *lists, strict=True):
            yield Changed(json.loads(body), old[:TOP], new[:TOP])


def _coverage(lists: Iterable[list[Scored]], movies: int) -> float:
    return len({movie.movie_id for ranked in lists for movie in ranked}) / movies

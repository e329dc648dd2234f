"""The towers' input arrays of events and catalogue rows, for training and serving.

Row 0 of every vocabulary stands for an unknown value; in `genres` and `title` it is padding.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from schemas.profile import PROFILE_FIELDS, ProfileEvent
from worker.release.catalogue import Catalogue

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Entry = TypeVar("Entry", bound=Hashable)

# Rows by a field's value; row 0 is the unknown.
PROFILE_ROWS: dict[str, dict[Any, int]] = {
    name: {None: 0} | kind.rows for name, kind in PROFILE_FIELDS.items()
}
# Rows of each field's embedding, row 0 among them.
PROFILE_SIZES = {name: len(kind.codes) + 1 for name, kind in PROFILE_FIELDS.items()}

# The first year with a row of its own; earlier years share it.
FIRST_YEAR, LAST_YEAR = 1900, 2050
YEARS_SIZE = LAST_YEAR - FIRST_YEAR + 2

RECENT = "recent"
# A history is padded to the next of these; attention costs by the square of the length.
LENGTHS = (1, 4, 8, 16, 32, 64, 128, 200)
# Movies, padding among them, of one run of a tower: what attention keeps of them stays below 20 MB.
RUN_MOVIES = 8_192

SENTINELS = 24  # more than occupations, the largest of the small vocabularies

_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class Unknowns(NamedTuple):
    """The numbers of users and movies of some events that a release does not know."""

    users: int
    movies: int


def title_words(title: str) -> list[str]:
    """The words of a title in lower case, without its year: `Toy Story (1995)` gives toy, story."""
    return _WORD.findall(_YEAR.sub("", title).lower())


class Vocabularies(BaseModel):
    """The values of the rows of the embeddings, from vocabularies.json. Row 0 is not listed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    users: list[int]
    movies: list[int]
    genres: list[str]
    words: list[str]
    genres_length: int
    title_length: int

    @classmethod
    def of(cls, users: Sequence[int], catalogue: Catalogue) -> "Vocabularies":
        """Sort every vocabulary, so that the same data gives the same rows."""
        titles = [title_words(title) for title in catalogue.titles]
        return cls(
            users=sorted(users),
            movies=sorted(catalogue.movie_ids.tolist()),
            genres=sorted({genre for genres in catalogue.genres for genre in genres}),
            words=sorted({word for words in titles for word in words}),
            genres_length=max(map(len, catalogue.genres), default=0) or 1,
            title_length=max(map(len, titles), default=0) or 1,
        )


class Features:
    """Input arrays (int64) by the names of the inputs."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        self.vocabularies = vocabularies
        self._users: dict[int | None, int] = {id_: row for row, id_ in enumerate(vocabularies.users, 1)}
        self._movies = {id_: row for row, id_ in enumerate(vocabularies.movies, 1)}

    @cached_property
    def _known_movies(self) -> frozenset[int]:
        return frozenset(self._movies)

    @cached_property
    def _genres(self) -> dict[str, int]:
        return {genre: row for row, genre in enumerate(self.vocabularies.genres, 1)}

    @cached_property
    def _words(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.vocabularies.words, 1)}

    def profiles(self, events: Sequence[ProfileEvent], names: Sequence[str]) -> dict[str, Rows]:
        """The user tower's inputs of n events, each [n], and `recent` [n, the longest history among them, at least 1].

        A history is oldest first, without unknown movies, and padded with 0 at its end.
        """
        return {
            name: self._histories(events) if name == RECENT else self._column(events, name) for name in names
        }

    def _column(self, events: Sequence[ProfileEvent], name: str) -> Rows:
        rows = self._users if name == "user_id" else PROFILE_ROWS[name]
        return np.array([rows.get(value, 0) for value in map(attrgetter(name), events)], np.int64)

    def _histories(self, events: Sequence[ProfileEvent]) -> Rows:
        known = [[id_ for id_ in event.recent or () if id_ in self._movies] for event in events]
        return _padded(known, self._movies, max([1, *map(len, known)]))

    def movies(self, catalogue: Catalogue, names: Sequence[str]) -> dict[str, Rows]:
        """The movie tower's inputs of n movies: movie_id, year [n], genres [n, genres_length], title [n, title_length]."""
        of: dict[str, Callable[[], Rows]] = {
            "movie_id": lambda: np.array(
                [self._movies.get(id_, 0) for id_ in catalogue.movie_ids.tolist()], np.int64
            ),
            "genres": lambda: _padded(catalogue.genres, self._genres, self.vocabularies.genres_length),
            "title": lambda: _padded(
                [title_words(title) for title in catalogue.titles],
                self._words,
                self.vocabularies.title_length,
            ),
            "year": lambda: np.where(
                catalogue.years > 0, np.clip(catalogue.years, FIRST_YEAR, LAST_YEAR) - FIRST_YEAR + 1, 0
            ).astype(np.int64),
        }
        return {name: of[name]() for name in names}

    def sentinels(self, names: Sequence[str]) -> dict[str, Rows]:
        """Rows of a tower's inputs that differ in every input: `recent` has one movie, the rest is as of `profiles` and `movies`."""
        vocabularies = self.vocabularies
        sizes = {
            "user_id": len(vocabularies.users) + 1,
            **PROFILE_SIZES,
            "movie_id": len(vocabularies.movies) + 1,
            "recent": len(vocabularies.movies) + 1,
            "year": YEARS_SIZE,
            "genres": len(vocabularies.genres) + 1,
            "title": len(vocabularies.words) + 1,
        }
        widths = {"recent": 1, "genres": vocabularies.genres_length, "title": vocabularies.title_length}
        rows: dict[str, Rows] = {}
        for name in names:
            row = np.arange(1, SENTINELS + 1, dtype=np.int64) % sizes[name]
            if name in widths:
                row = np.pad(row[:, None], ((0, 0), (0, widths[name] - 1)))
            rows[name] = row
        return rows

    def unknowns(self, events: Sequence[ProfileEvent]) -> Unknowns:
        """Count the users, and the movies of `recent`, that are not in the vocabularies."""
        users, movies = self._users, self._known_movies
        return Unknowns(
            users=sum(event.user_id is not None and event.user_id not in users for event in events),
            # Most events name none. One test of a set takes a third of the time of a lookup for each movie.
            movies=sum(
                sum(id_ not in movies for id_ in event.recent)
                for event in events
                if event.recent and not movies.issuperset(event.recent)
            ),
        )


def _padded(texts: Sequence[Sequence[Entry]], vocabulary: Mapping[Entry, int], length: int) -> Rows:
    """Known entries of each text as rows, [len(texts), length], cut to `length` and padded with 0."""
    rows = np.zeros((len(texts), length), np.int64)
    for row, text in zip(rows, texts, strict=True):
        known = [vocabulary[entry] for entry in text if entry in vocabulary][:length]
        row[: len(known)] = known
    return rows


def embed_by_length(
    embed: Callable[[Mapping[str, Rows]], Vectors], inputs: Mapping[str, Rows], dimension: int
) -> Vectors:
    """Vectors, float32 [n, dimension], of inputs of n rows whose `recent` [n, l] is padded with 0 at the end."""
    vectors = np.empty((len(inputs[RECENT]), dimension), np.float32)
    for places, length in _groups(np.count_nonzero(inputs[RECENT], axis=1)):
        part = {name: rows[places] for name, rows in inputs.items()}
        vectors[places] = embed(part | {RECENT: _cut(part[RECENT], length)})
    return vectors


def _groups(lengths: Rows) -> Iterator[tuple[Rows, int]]:
    """Places of the rows that go into one run, and the length they are padded to."""
    padded = np.searchsorted(LENGTHS, lengths)
    for group in np.unique(padded).tolist():
        places, length = np.flatnonzero(padded == group), LENGTHS[group]
        at_a_time = max(1, RUN_MOVIES // length)
        for start in range(0, len(places), at_a_time):
            yield places[start : start + at_a_time], length


def _cut(recent: Rows, length: int) -> Rows:
    """`recent` with `length` columns."""
    missing = length - recent.shape[1]
    return np.pad(recent, ((0, 0), (0, missing))) if missing > 0 else np.ascontiguousarray(recent[:, :length])

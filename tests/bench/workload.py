"""Events and an untrained release of any size to measure with: fusion towers with fewer dimensions, or the sequence model.

Training would change neither the speed of the embedding nor of the search.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from typing import Literal

import numpy as np
import orjson

from ops.data.generate import GENRES
from ops.training.export import write_release
from ops.training.fusion import ID_SIZE, PROFILE_SIZE, Fusion
from ops.training.sequence import SequenceModel
from schemas.manifest import Data
from schemas.profile import GENDERS, OCCUPATIONS
from worker.release.catalogue import Catalogue
from worker.release.features import Vocabularies
from worker.release.paddle_engine import paddle
from worker.release.store import ReleaseStore

Kind = Literal["fusion", "sequence"]

# ml-1m's sizes. The dimension is fixed, so that figures of different days compare.
USERS, MOVIES, DIMENSION = 6_040, 3_883, 64
_SEED = 1


class Narrow(Fusion):
    """Fusion with vectors of DIMENSION instead of 200."""

    dimension = DIMENSION

    def __init__(self, vocabularies: Vocabularies) -> None:
        super().__init__(vocabularies)
        self.user.fuse = paddle.nn.Linear(ID_SIZE + 3 * PROFILE_SIZE, DIMENSION)
        self.movie.fuse = paddle.nn.Linear(3 * ID_SIZE, DIMENSION)


def bench_store(directory: Path, movies: int = MOVIES, kind: Kind = "fusion") -> str:
    """A store with one release of so many movies, made where `directory` holds none yet."""
    store = ReleaseStore(str(directory / f"store-{kind}-{movies}"))
    if not store.names():
        paddle.seed(_SEED)
        catalogue = invented_catalogue(movies)
        vocabularies = Vocabularies.of(range(1, USERS + 1), catalogue)
        data = Data(fingerprint=f"invented-{movies}", split="all", users=USERS, movies=movies, ratings=0)
        network = (
            Narrow(vocabularies) if kind == "fusion" else SequenceModel(vocabularies, dimension=DIMENSION)
        )
        training = {"seed": _SEED, "steps": 0, "dimension": DIMENSION}
        write_release(store, kind, network, vocabularies, catalogue, data, training)
    return store.url


def invented_catalogue(movies: int) -> Catalogue:
    """Movies 1 to n with titles of few words, so that a million of them make no larger vocabulary than 4,000."""
    random = np.random.default_rng(_SEED)
    years = random.integers(1920, 2001, movies).tolist()
    genres = random.integers(len(GENRES), size=(movies, 2)).tolist()
    return Catalogue.of(
        {
            number: (
                f"Tales of the {number % 1_000} and {number // 1_000} ({year})",
                sorted({GENRES[first], GENRES[second]}),
            )
            for number, (year, (first, second)) in enumerate(zip(years, genres, strict=True), 1)
        }
    )


# More than any contender answers in one run before it would meet an event again.
EVENTS = 200_000
REPEATED = 4_000  # profiles that a run with a warm cache meets again and again
HISTORY = 10  # movies that an event carries at most, drawn uniformly from 0


@dataclass(frozen=True)
class Draft:
    """An event but for its id: key, and JSON from the second field on."""

    key: bytes
    rest: bytes

    def value(self, event_id: str) -> bytes:
        return b'{"event_id":"%b",%b' % (event_id.encode(), self.rest)


def drafts(
    users: Sequence[int], movies: Sequence[int], number: int = EVENTS, *, history: int | None = None
) -> list[Draft]:
    """Events of random people; `history` gives all of them so many movies, else 0 to HISTORY."""
    random = np.random.default_rng(_SEED)
    people = random.choice(users, number).tolist()
    ages, occupations = (
        random.integers(1, 90, number).tolist(),
        random.integers(len(OCCUPATIONS), size=number).tolist(),
    )
    lengths = random.integers(HISTORY + 1, size=number) if history is None else np.full(number, history)
    seen = np.split(random.choice(movies, int(lengths.sum())), np.cumsum(lengths)[:-1])
    return [
        Draft(
            str(user).encode(),
            orjson.dumps(
                {
                    "user_id": user,
                    "gender": GENDERS[user % 2],
                    "age": age,
                    "occupation": occupation,
                    "recent": recent.tolist(),
                }
            )[1:],
        )
        for user, age, occupation, recent in zip(people, ages, occupations, seen, strict=True)
    ]


def endless(pool: Sequence[Draft], distinct: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Endless keys and values, each with its own id, from the first `distinct` profiles where given."""
    for number, draft in zip(count(), cycle(islice(pool, distinct)), strict=False):
        yield draft.key, draft.value(f"backlog-{number:07d}")

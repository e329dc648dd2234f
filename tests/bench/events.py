"""The events of a run: the same for everybody, made and encoded before anything is measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice

import numpy as np
import orjson

from schemas.profile import GENDERS, OCCUPATIONS

# More than any contender answers in one run before it would meet an event again.
EVENTS = 200_000
REPEATED = 4_000  # profiles that a run with a warm cache meets again and again
HISTORY = 10  # movies that an event carries at most, drawn uniformly from 0
_SEED = 1


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
    """Keys and values for ever, each with an id of its own; only the first `distinct` profiles where given."""
    for number, draft in zip(count(), cycle(islice(pool, distinct)), strict=False):
        yield draft.key, draft.value(f"backlog-{number:07d}")

"""Profile events of the people in the data, each at some moment of their history."""

from collections.abc import Iterator

import numpy as np

from ops.data.movielens import MovieLens
from schemas.profile import ProfileEvent

LIKED_STARS = 4  # from this rating on, a movie counts as liked
RECENT = 10  # movies that an event carries at most: what an application remembers of a visit or two


def profile_events(data: MovieLens, count: int, seed: int = 0) -> Iterator[ProfileEvent]:
    """`count` events: the users in random order, again and again, with what each had liked by a random moment."""
    random = np.random.default_rng(seed)
    liked = _liked(data)
    users = data.users
    for number in range(count):
        if number % len(users) == 0:
            order = random.permutation(len(users)).tolist()
        row = order[number % len(users)]
        history = liked[row]
        moment = int(random.integers(len(history) + 1))
        yield ProfileEvent(
            user_id=int(users.ids[row]),
            gender=users.genders[row],
            age=int(users.ages[row]),
            occupation=int(users.occupations[row]),
            recent=history[max(0, moment - RECENT) : moment],
        )


def _liked(data: MovieLens) -> list[list[int]]:
    """Ids of the movies that each user liked, oldest first."""
    ratings = data.ratings
    rows = np.flatnonzero(ratings.stars >= LIKED_STARS)
    rows = rows[np.lexsort((rows, ratings.timestamps[rows], ratings.users[rows]))]
    movies = data.movies.movie_ids[ratings.movies[rows]]
    ends = np.searchsorted(ratings.users[rows], np.arange(len(data.users)), side="right")
    return [part.tolist() for part in np.split(movies, ends[:-1])]

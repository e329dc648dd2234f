"""Profile events of the users in the data, each at a random moment of their history."""

from collections.abc import Iterator

import numpy as np

from ops.data.movielens import MovieLens
from schemas.profile import ProfileEvent

LIKED_STARS = 4  # the lowest rating of a liked movie
# A history with an obvious taste, by ml-1m's titles.
FAMILY_ANIMATIONS = ("Toy Story (1995)", "Bug's Life, A (1998)", "Aladdin (1992)")
ANIMATION = "Animation"
RECENT = 10  # largest number of movies in an event, as an application keeps them for a visit or two


def profile_events(data: MovieLens, count: int, seed: int = 0) -> Iterator[ProfileEvent]:
    """Generate events of the users in random order, repeatedly, with the movies that each liked up to a random moment."""
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
    """List the ids of the movies that each user liked, oldest first."""
    ratings = data.ratings
    rows = np.flatnonzero(ratings.stars >= LIKED_STARS)
    rows = rows[np.lexsort((rows, ratings.timestamps[rows], ratings.users[rows]))]
    movies = data.movies.movie_ids[ratings.movies[rows]]
    ends = np.searchsorted(ratings.users[rows], np.arange(len(data.users)), side="right")
    return [part.tolist() for part in np.split(movies, ends[:-1])]


def animation_watcher(data: MovieLens) -> list[int]:
    """Return the ids of three family animations, or in other data than ml-1m of the most watched animations."""
    titles = {
        title: id_ for id_, title in zip(data.movies.movie_ids.tolist(), data.movies.titles, strict=True)
    }
    if all(title in titles for title in FAMILY_ANIMATIONS):
        return [titles[title] for title in FAMILY_ANIMATIONS]
    watched = np.bincount(data.ratings.movies, minlength=len(data.movies))
    animated = [row for row, genres in enumerate(data.movies.genres) if ANIMATION in genres]
    rows = sorted(animated, key=lambda row: -int(watched[row]))[: len(FAMILY_ANIMATIONS)]
    return [int(id_) for id_ in data.movies.movie_ids[rows]]

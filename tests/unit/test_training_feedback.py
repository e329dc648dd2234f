"""What people watched and liked becomes ratings of users and movies that the data knows, once each."""

from pathlib import Path

import numpy as np

from ops.data.movielens import load
from ops.training.feedback import Deed, with_deeds


def test_deeds_become_ratings(generated_data: Path) -> None:
    data = load(generated_data)
    user, ratings = 0, data.ratings
    rated = set(ratings.movies[ratings.users == user].tolist())
    fresh = next(row for row in range(len(data.movies)) if row not in rated)
    user_id, movie_id = int(data.users.ids[user]), int(data.movies.movie_ids[fresh])
    seen_id = int(data.movies.movie_ids[min(rated)])
    done = [
        Deed(user_id, movie_id, 4.0, 1_000),
        Deed(user_id, movie_id, 5.0, 2_000),  # in another list, later
        Deed(user_id, seen_id, 5.0, 3_000),
        Deed(99_999_999, movie_id, 5.0, 3_000),
        Deed(user_id, 99_999_999, 5.0, 3_000),
    ]

    learnt = with_deeds(data, done)

    assert (learnt.added, learnt.left_out) == (1, 4)
    after = learnt.data.ratings
    assert len(after) == len(ratings) + 1
    assert (after.users[-1], after.movies[-1], after.stars[-1], after.timestamps[-1]) == (
        user,
        fresh,
        5.0,
        2_000,
    )
    assert np.array_equal(after.stars[:-1], ratings.stars)
    assert learnt.data.fingerprint != data.fingerprint


def test_without_deeds_the_data_stays_as_it_is(generated_data: Path) -> None:
    data = load(generated_data)
    assert with_deeds(data, []).data is data

"""The towers' inputs of every user and movie of the data, one row each, made once."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens, Users
from schemas.manifest import TensorInput
from schemas.profile import ProfileEvent
from worker.release.features import RECENT, Features, Vocabularies

Rows = NDArray[np.int64]


class Towers(Protocol):
    """A network that says what its towers take."""

    def input_specs(self, vocabularies: Vocabularies) -> tuple[list[TensorInput], list[TensorInput]]: ...


class Tables:
    """Rows by input name: `users` without histories, `movies`."""

    def __init__(self, data: MovieLens, features: Features, network: Towers) -> None:
        user_inputs, movie_inputs = network.input_specs(features.vocabularies)
        names = [spec.name for spec in user_inputs if spec.name != RECENT]
        self.users = features.profiles(profiles_of(data.users), names)
        self.movies = features.movies(data.movies, [spec.name for spec in movie_inputs])

    def profiles(self, users: list[int], named: list[bool]) -> dict[str, Rows]:
        """Rows of these users, without the id of those who are not named."""
        rows = {name: table[users] for name, table in self.users.items()}
        return rows | {"user_id": np.where(named, rows["user_id"], 0)}


def profiles_of(users: Users) -> list[ProfileEvent]:
    """An event of each user's profile, in their order."""
    return [
        ProfileEvent(user_id=id_, gender=gender, age=age, occupation=occupation)
        for id_, gender, age, occupation in zip(
            users.ids.tolist(), users.genders, users.ages.tolist(), users.occupations.tolist(), strict=True
        )
    ]

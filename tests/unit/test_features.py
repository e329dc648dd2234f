"""Events and catalogue rows become the same input arrays in training and in serving."""

import numpy as np
import pytest

from schemas.profile import ProfileEvent
from worker.release.catalogue import Catalogue
from worker.release.features import YEARS_SIZE, Features, Unknowns, Vocabularies, title_words

CATALOGUE = Catalogue.of(
    {
        7: ("Toy Story (1995)", ["Animation", "Comedy"]),
        3: ("Bug's Life, A (1998)", ["Animation"]),
        5: ("2001 (1968)", []),
    }
)
PROFILE = ("user_id", "gender", "age", "occupation")


@pytest.fixture
def features() -> Features:
    return Features(Vocabularies.of([42, 9], CATALOGUE))


def test_vocabularies_are_sorted_and_know_the_longest() -> None:
    vocabularies = Vocabularies.of([42, 9], CATALOGUE)

    assert vocabularies.users == [9, 42]
    assert vocabularies.movies == [3, 5, 7]
    assert vocabularies.genres == ["Animation", "Comedy"]
    assert vocabularies.words == ["2001", "a", "bug's", "life", "story", "toy"]
    assert (vocabularies.genres_length, vocabularies.title_length) == (2, 3)


def test_vocabularies_come_back_from_their_file() -> None:
    vocabularies = Vocabularies.of([42, 9], CATALOGUE)

    assert Vocabularies.model_validate_json(vocabularies.model_dump_json()) == vocabularies


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Toy Story (1995)", ["toy", "story"]),
        ("Misérables, Les (1995)", ["misérables", "les"]),
        ("M*A*S*H (1970)", ["m", "a", "s", "h"]),
        ("1984 (1984)", ["1984"]),
        ("(1999)", []),
        ("Schindler's List", ["schindler's", "list"]),
    ],
)
def test_words_of_a_title(title: str, words: list[str]) -> None:
    assert title_words(title) == words


def test_profiles_become_rows_and_0_is_unknown(features: Features) -> None:
    events = [
        ProfileEvent(user_id=42, gender="F", age=27, occupation=0),
        ProfileEvent(user_id=9, gender="M", age=0, occupation=20),
        ProfileEvent(user_id=1000, age=120),
        ProfileEvent(),
    ]

    rows = features.profiles(events, PROFILE)

    assert {name: values.tolist() for name, values in rows.items()} == {
        "user_id": [2, 1, 0, 0],
        "gender": [1, 2, 0, 0],
        "age": [3, 1, 7, 0],
        "occupation": [1, 21, 0, 0],
    }
    assert all(values.dtype == np.int64 for values in rows.values())


def test_histories_are_padded_at_their_end_without_unknown_movies(features: Features) -> None:
    events = [ProfileEvent(recent=[7, 99, 3]), ProfileEvent(), ProfileEvent(recent=[5])]

    recent = features.profiles(events, ("recent",))["recent"]

    assert recent.tolist() == [[3, 1], [0, 0], [2, 0]]
    # A tower needs a column, also where nobody watched anything.
    assert features.profiles([ProfileEvent()], ("recent",))["recent"].tolist() == [[0]]


def test_years_have_rows_of_their_own_and_0_is_unknown(features: Features) -> None:
    old_and_new = Catalogue.of({1: ("A (1894)", []), 2: ("B", []), 3: ("C (1995)", []), 4: ("D (2999)", [])})

    assert features.movies(old_and_new, ("year",))["year"].tolist() == [1, 0, 96, YEARS_SIZE - 1]


def test_gives_only_the_inputs_asked_for(features: Features) -> None:
    assert list(features.profiles([ProfileEvent()], ["age"])) == ["age"]


def test_movies_become_rows_padded_with_0(features: Features) -> None:
    rows = features.movies(CATALOGUE, ("movie_id", "genres", "title"))

    assert rows["movie_id"].tolist() == [1, 2, 3]
    assert rows["genres"].tolist() == [[1, 0], [0, 0], [1, 2]]
    assert rows["title"].tolist() == [[3, 4, 2], [1, 0, 0], [6, 5, 0]]


def test_a_new_movie_has_the_rows_of_its_known_words_and_genres(features: Features) -> None:
    new = Catalogue.of({8: ("Life of a Toy Bug's Toy (2020)", ["Western", "Comedy"])})

    rows = features.movies(new, ("movie_id", "genres", "title"))

    assert rows["movie_id"].tolist() == [0]
    assert rows["genres"].tolist() == [[2, 0]]
    assert rows["title"].tolist() == [[4, 2, 6]]  # cut to the length that the tower takes


def test_unknown_users_and_movies_are_counted(features: Features) -> None:
    events = [
        ProfileEvent(user_id=42, recent=[3, 99]),
        ProfileEvent(user_id=1000, recent=[98, 97]),
        ProfileEvent(recent=[]),
    ]

    assert features.unknowns(events) == Unknowns(users=1, movies=3)

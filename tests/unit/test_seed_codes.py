"""The seed's codes mean what Paddle's movielens dataset makes of them."""

from ops.commands.options import movie_ids
from ops.data.seed_codes import AGE_NAMES, GENDER_NAMES, SEED_GENDERS, age_in_years, combinations, table
from schemas.profile import AGE_GROUPS, OCCUPATIONS, age_group


def test_there_are_294_combinations_and_each_is_another() -> None:
    assert len(combinations()) == len(set(combinations())) == 294


def test_gender_0_is_male() -> None:
    assert list(zip(SEED_GENDERS, GENDER_NAMES, strict=True)) == [("M", "male"), ("F", "female")]


def test_an_age_code_is_the_index_of_its_group() -> None:
    assert [age_group(age_in_years(code)) for code in range(len(AGE_NAMES))] == list(range(len(AGE_GROUPS)))


def test_the_help_names_every_code() -> None:
    for code, name in enumerate(OCCUPATIONS):
        assert f"{code} {name}" in table()


def test_recent_is_read_in_order() -> None:
    assert movie_ids("1193, 661,914") == [1193, 661, 914]

"""The profile event: the user who wants recommendations, with the one list of profile fields that models learn from."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ID = 2**63 - 1
MAX_RECENT = 200
MAX_EXCLUDE = 1_000
MAX_K = 100
# A collection holds as many genres of a movie, and none is longer, in bytes.
MAX_GENRES = 64
MAX_GENRE_LENGTH = 256
DEFAULT_K = 5

# ml-1m's age groups by their lower bounds in years, and its names of the occupations by their code.
AGE_GROUPS = (1, 18, 25, 35, 45, 50, 56)
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip
GENDERS = ("F", "M")

# In years; a larger number is an error of the producer.
MAX_AGE = 120


@dataclass(frozen=True)
class Category:
    """The kind of a profile field that has one of some codes."""

    codes: tuple[str | int, ...]

    @property
    def rows(self) -> dict[Any, int]:
        """The row of each code in a vocabulary, from 1 on; row 0 is the unknown."""
        return {code: row for row, code in enumerate(self.codes, 1)}


@dataclass(frozen=True)
class Grouped:
    """The kind of a profile field that is a number from 0 to `largest`, put into groups by their lower bounds."""

    codes: tuple[int, ...]
    largest: int

    @property
    def rows(self) -> dict[Any, int]:
        """The row of each number's group, from 1 on; numbers below the first bound are in the first group."""
        return {number: group_of(self.codes, number) + 1 for number in range(self.largest + 1)}


def group_of(bounds: tuple[int, ...], number: int) -> int:
    """Index of the group that a number belongs to; the first group for numbers below its bound."""
    return max(0, sum(bound <= number for bound in bounds) - 1)


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Gender = Literal["F", "M"]
Genre = Annotated[str, Field(max_length=MAX_GENRE_LENGTH)]
# A tuple without fail_fast collects an error for each of its items before it counts them: 449 MB for 1 MiB of `1,1,1`.
Genres = Annotated[tuple[Genre, ...], Field(max_length=MAX_GENRES, fail_fast=True)]
Year = Annotated[int, Field(ge=0, le=9999)]


class Filter(BaseModel):
    """A condition on movies: any of `genres`, none of `not_genres`, within `years` (both ends included)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    genres: Genres | None = Field(
        None, description="Genres of which a movie has at least one; an empty list is no condition."
    )
    not_genres: Genres | None = Field(None, description="Genres of which a movie has none.")
    years: tuple[Year, Year] | None = Field(
        None,
        description="First and last year of release, both included; movies of an unknown year do not qualify.",
    )

    @model_validator(mode="after")
    def _years_in_order(self) -> Self:
        if self.years and self.years[0] > self.years[1]:
            raise ValueError(f"years must be [first, last], got {list(self.years)}")
        return self


class ProfileEvent(BaseModel):
    """A user's profile. Every field may be missing or null: unknown is a value that the model is trained on."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", title="Profile event")

    event_id: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Name of the event, chosen by the producer; `topic-partition-offset` when missing."
    )
    user_id: Id | None = Field(None, description="User, by the number in the training data.")
    gender: Annotated[Gender | None, Category(GENDERS)] = Field(None, description="Gender, `F` or `M`.")
    age: Annotated[Annotated[int, Field(ge=0, le=MAX_AGE)] | None, Grouped(AGE_GROUPS, MAX_AGE)] = Field(
        None,
        description="Age, in years; put into ml-1m's seven groups (1, 18, 25, 35, 45, 50, 56 and up; 0 counts as 1).",
    )
    occupation: Annotated[
        Annotated[int, Field(ge=0, le=len(OCCUPATIONS) - 1)] | None, Category(tuple(range(len(OCCUPATIONS))))
    ] = Field(None, description="Occupation by ml-1m's code, 0 to 20.")
    recent: Annotated[list[Id], Field(max_length=MAX_RECENT)] | None = Field(
        None, description="Movies that the user watched and liked, by id, oldest first. Never recommended."
    )
    k: Annotated[int, Field(ge=1, le=MAX_K)] | None = Field(
        None, description=f"Number of movies to recommend; {DEFAULT_K} when missing."
    )
    exclude: Annotated[list[Id], Field(max_length=MAX_EXCLUDE)] | None = Field(
        None, description="Movies that are not recommended, by id; the model does not see them."
    )
    filter: Filter | None = Field(
        None,
        description="Condition on the movies; the list has the best `k` that qualify, and is shorter where there are fewer.",
    )


# Kinds by field name. `ProfileEvent` alone declares a field; features and training take it from here.
PROFILE_FIELDS: dict[str, Category | Grouped] = {
    name: kind
    for name, field in ProfileEvent.model_fields.items()
    for kind in field.metadata
    if isinstance(kind, Category | Grouped)
}


def age_group(age: int) -> int:
    """Index (0 to 6) of the ml-1m group that an age in years belongs to; 0 years counts as the first group."""
    return group_of(AGE_GROUPS, age)

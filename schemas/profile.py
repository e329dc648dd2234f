"""The profile event: the user who wants recommendations, with the one list of profile fields that models learn from."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ID = 2**63 - 1
MAX_RECENT = 200
MAX_EXCLUDE = 1_000
MAX_K = 100
# As many as a collection holds of a movie, so no movie has more; and no genre of a movie is longer, in bytes.
MAX_GENRES = 64
MAX_GENRE_LENGTH = 256
DEFAULT_K = 5

# ml-1m's groups of age by their lower bounds in years, and its names of the occupations by their code.
AGE_GROUPS = (1, 18, 25, 35, 45, 50, 56)
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip
GENDERS = ("F", "M")

# A number up to it is a group; an older user would be an error of the producer.
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
# Otherwise a tuple collects an error for each of its items before it counts them: 449 MB for 1 MiB of `1,1,1`.
Genres = Annotated[tuple[Genre, ...], Field(max_length=MAX_GENRES, fail_fast=True)]
Year = Annotated[int, Field(ge=0, le=9999)]


class Filter(BaseModel):
    """Which movies qualify: any of `genres`, none of `not_genres`, within `years` (both ends included)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    genres: Genres | None = Field(
        None, description="At least one of these genres; an empty list asks for nothing."
    )
    not_genres: Genres | None = Field(None, description="None of these genres.")
    years: tuple[Year, Year] | None = Field(
        None, description="First and last year of release, both included; no movie whose year is unknown."
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
        None, description="The producer's own name for the event; `topic-partition-offset` when missing."
    )
    user_id: Id | None = Field(None, description="The person, as the training data numbers them.")
    gender: Annotated[Gender | None, Category(GENDERS)] = Field(None, description="Gender, `F` or `M`.")
    age: Annotated[Annotated[int, Field(ge=0, le=MAX_AGE)] | None, Grouped(AGE_GROUPS, MAX_AGE)] = Field(
        None,
        description="Years; put into ml-1m's seven groups (1, 18, 25, 35, 45, 50, 56 and up; 0 counts as 1).",
    )
    occupation: Annotated[
        Annotated[int, Field(ge=0, le=len(OCCUPATIONS) - 1)] | None, Category(tuple(range(len(OCCUPATIONS))))
    ] = Field(None, description="Occupation by ml-1m's code, 0 to 20.")
    recent: Annotated[list[Id], Field(max_length=MAX_RECENT)] | None = Field(
        None, description="Movie ids, oldest first: what the person watched and liked. Never recommended."
    )
    k: Annotated[int, Field(ge=1, le=MAX_K)] | None = Field(
        None, description=f"How many movies to recommend; {DEFAULT_K} when missing."
    )
    exclude: Annotated[list[Id], Field(max_length=MAX_EXCLUDE)] | None = Field(
        None, description="Movie ids that are never recommended, and from which nothing is learnt."
    )
    filter: Filter | None = Field(
        None,
        description="Which movies qualify; the list is the best `k` of those, shorter where there are fewer.",
    )


# By name. A field is declared in `ProfileEvent` alone: features, cache key and training take it from here.
PROFILE_FIELDS: dict[str, Category | Grouped] = {
    name: kind
    for name, field in ProfileEvent.model_fields.items()
    for kind in field.metadata
    if isinstance(kind, Category | Grouped)
}


def age_group(age: int) -> int:
    """Index (0 to 6) of the ml-1m group that an age in years belongs to; 0 years counts as the first group."""
    return group_of(AGE_GROUPS, age)

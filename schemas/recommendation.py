"""The recommendation: the result of one profile event."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCORE_PLACES = 6

Retrieval = Literal["milvus", "exact"]


class RecommendedMovie(BaseModel):
    """One movie of the ranked list."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rank: int = Field(ge=1, description="Rank in the list, from 1 on.")
    movie_id: int
    title: str
    genres: list[str]
    score: float = Field(
        description="Score by which the release ranks, rounded to 6 places; ties are ordered by movie id."
    )
    stars: float | None = Field(
        None, ge=1, le=5, description="Predicted rating, of releases that predict ratings."
    )


class Source(BaseModel):
    """The place of the event."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    partition: int
    offset: int


class Recommendation(BaseModel):
    """The result of one profile event, made by one release."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str
    user_id: int | None = Field(
        None, description="User of the event; missing or null where the event has none."
    )
    movies: list[RecommendedMovie] = Field(
        description="Movies, best first; fewer than `k` only where no more qualify. The `k` best of those, or, where the operator has "
        "set a diversity, `k` of the 50 best that are less alike, the best one among them; by score either way."
    )
    release: str = Field(description="Release that embedded the profile and the movies.")
    collection: str = Field(description="Milvus collection of that release.")
    retrieval: Retrieval = Field(
        description="`milvus`, or `exact` from the worker's own copy of the same vectors: by setting, while Milvus is away, "
        "and for events that a search for many cannot serve (a filter, or more exclusions than were fetched)."
    )
    source: Source

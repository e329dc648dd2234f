"""The recommendation: the list of movies that answers one profile event."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCORE_PLACES = 6

Retrieval = Literal["milvus", "exact"]


class RecommendedMovie(BaseModel):
    """One place of the list."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rank: int = Field(ge=1, description="Place in the list, 1 is the best.")
    movie_id: int
    title: str
    genres: list[str]
    score: float = Field(
        description="What the release ranks by, rounded to 6 places; ties stand by movie id."
    )
    stars: float | None = Field(None, ge=1, le=5, description="Predicted rating, where the release can tell.")


class Source(BaseModel):
    """The place of the event that is answered."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    partition: int
    offset: int


class Recommendation(BaseModel):
    """The answer to one profile event, made by one release."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str
    user_id: int | None = Field(
        None, description="As in the event; missing or null where the event has none."
    )
    movies: list[RecommendedMovie] = Field(
        description="Best first; fewer than `k` only where no more qualify. The `k` best of those, or, where the operator has "
        "set a diversity, `k` of the 50 best that are less alike, the best one among them; by score either way."
    )
    release: str = Field(description="The release that embedded the profile and the movies.")
    collection: str = Field(description="The Milvus collection of that release.")
    retrieval: Retrieval = Field(
        description="`milvus`, or `exact` from the worker's own copy of the same vectors: by setting, while Milvus is away, "
        "and where an event asks for what a search for many cannot give (a filter, or more left out than fetched)."
    )
    source: Source

"""Feedback: what a person did with a movie that was recommended."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.profile import MAX_ID
from schemas.release import RECORD_FORMAT

Action = Literal["shown", "clicked", "watched", "liked", "disliked"]
ACTIONS: tuple[Action, ...] = ("shown", "clicked", "watched", "liked", "disliked")


class FeedbackEvent(BaseModel):
    """What a person did with one movie of one recommendation. The same thing said twice counts once."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", title="Feedback")

    event_id: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="`event_id` of the recommendation."
    )
    movie_id: Annotated[int, Field(ge=1, le=MAX_ID)] = Field(description="A movie of its list.")
    action: Action = Field(description="What was done. Whoever did any of it was shown the movie.")
    at: AwareDatetime | None = Field(None, description="When, ISO 8601 with an offset from UTC.")


class RankOutcomes(BaseModel):
    """What became of the movies that stood at one rank; each counts once for each recommendation."""

    model_config = ConfigDict(extra="ignore")

    recommended: int = 0
    shown: int = Field(0, description="Those with any feedback: the impressions.")
    clicked: int = 0
    watched: int = 0
    liked: int = 0
    disliked: int = 0


class OutcomesRecord(BaseModel):
    """What became of the recommendations of ten minutes, by release and segment; written anew with every change."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(RECORD_FORMAT, description="Format of the record.")
    since: datetime = Field(description="Beginning of the ten minutes in which they were published.")
    release: str
    segment: str = Field(
        description="Gender and age group, as in `F 25-34`; `?` for what the event did not say."
    )
    ranks: list[RankOutcomes] = Field(description="From rank 1 on.")


class OutcomesPositions(BaseModel):
    """How far the topics are read, in the transaction that counted what was read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(RECORD_FORMAT, description="Format of the record.")
    recommendations: list[int] = Field(description="Next offset of each partition.")
    feedback: list[int] = Field(description="Next offset of each partition.")
    read_to: datetime = Field(description="Everything that was published before this moment is read.")
    recommendations_id: str | None = Field(
        None, description="Topic id of `recommendations`; the offsets of another topic do not count."
    )
    feedback_id: str | None = Field(
        None, description="Topic id of `feedback`; the offsets of another topic do not count."
    )


POSITIONS_KEY = "positions"
OUTCOMES_KEY_PREFIX = "outcomes:"
BUCKET_SECONDS = 600


def outcomes_key(since: datetime, release: str, segment: str) -> str:
    return f"{OUTCOMES_KEY_PREFIX}{since:%Y-%m-%dT%H:%M}|{release}|{segment}"

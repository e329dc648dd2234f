"""Feedback: what a person did with a movie that was recommended."""

import math
from datetime import datetime
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import MarqueeError
from schemas.profile import MAX_ID
from schemas.release import RECORD_FORMAT

_Shape = TypeVar("_Shape", bound=BaseModel)
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


class _Written(BaseModel):
    """What every record has, of whatever format."""

    format: int = RECORD_FORMAT


POSITIONS_KEY = "positions"
OUTCOMES_KEY_PREFIX = "outcomes:"
BUCKET_SECONDS = 600


def outcomes_key(since: datetime, release: str, segment: str) -> str:
    return f"{OUTCOMES_KEY_PREFIX}{since:%Y-%m-%dT%H:%M}|{release}|{segment}"


class UnreadableOutcomesError(MarqueeError):
    """A record of `outcomes` under a key of ours is malformed, or of a newer Marquee: what was counted is not known."""


def read_outcomes(topic: str, key: bytes, value: bytes) -> OutcomesRecord:
    """The counts that a record of `outcomes` holds.

    Raises:
        UnreadableOutcomesError: says what is wrong with it, and what mends it.
    """
    record = _read(OutcomesRecord, topic, key, value)
    if outcomes_key(record.since, record.release, record.segment).encode() != key:
        raise _unreadable(topic, key, "it holds the counts of another key")
    return record


def read_positions(topic: str, key: bytes, value: bytes) -> OutcomesPositions:
    """How far the record says that was read; raises as `read_outcomes`."""
    record = _read(OutcomesPositions, topic, key, value)
    if min((*record.recommendations, *record.feedback), default=0) < 0:
        raise _unreadable(topic, key, "an offset is negative")
    return record


def _read(model: type[_Shape], topic: str, key: bytes, value: bytes) -> _Shape:
    try:
        written = _Written.model_validate_json(value).format
        if written > RECORD_FORMAT:
            raise _unreadable(topic, key, f"it has format {written}, and this Marquee reads {RECORD_FORMAT}")
        return model.model_validate_json(value)
    except ValidationError as error:
        raise _unreadable(topic, key, error.errors()[0]["msg"]) from None


def _unreadable(topic: str, key: bytes, why: str) -> UnreadableOutcomesError:
    return UnreadableOutcomesError(
        f"the record {key.decode(errors='replace')!r} of {topic} cannot be read ({why}); upgrade Marquee, or find who else "
        "writes to the topic and write the record anew as the contract says"
    )


Z_95 = 1.959963984540054  # of the normal distribution, two-sided


class Interval(NamedTuple):
    """A share and its 95 % interval."""

    low: float
    value: float
    high: float


def wilson(hits: int, trials: int) -> Interval:
    """The share of hits and its score interval (Wilson, "Probable inference, the law of succession", 1927).

    Without a trial nothing is known: 0 to 1.
    """
    if not trials:
        return Interval(0.0, 0.0, 1.0)
    share, z2 = hits / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return Interval(max(0.0, centre - half), share, min(1.0, centre + half))


def difference(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """How probable so great a difference of two shares is where there is none: the two-proportion z-test, two-sided.

    1.0 where either has no trial, or nothing varies.
    """
    if not trials or not other_trials:
        return 1.0
    pooled = (hits + other_hits) / (trials + other_trials)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / trials + 1 / other_trials))
    if deviation == 0.0:
        return 1.0
    z = (hits / trials - other_hits / other_trials) / deviation
    return math.erfc(abs(z) / math.sqrt(2))

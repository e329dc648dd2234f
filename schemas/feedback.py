"""Feedback: a user's actions on recommended movies, the counts of them, and the intervals of these counts."""

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
    """A user's action on one movie of one recommendation. The same action sent twice counts once."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", title="Feedback")

    event_id: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="`event_id` of the recommendation."
    )
    movie_id: Annotated[int, Field(ge=1, le=MAX_ID)] = Field(description="Movie of its list.")
    action: Action = Field(description="The action. Each of them counts as `shown` too.")
    at: AwareDatetime | None = Field(
        None, description="Moment of the action, ISO 8601 with an offset from UTC."
    )


class RankOutcomes(BaseModel):
    """Counts of the actions on the movies at one rank; each action counts once for each recommendation."""

    model_config = ConfigDict(extra="ignore")

    recommended: int = 0
    shown: int = Field(0, description="Movies with any feedback: the impressions.")
    clicked: int = 0
    watched: int = 0
    liked: int = 0
    disliked: int = 0


class OutcomesRecord(BaseModel):
    """Counts of the actions on the recommendations of ten minutes, by release and segment; rewritten with every change."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(RECORD_FORMAT, description="Format of the record.")
    since: datetime = Field(
        description="Beginning of the ten minutes in which the recommendations were published."
    )
    release: str
    segment: str = Field(
        description="Gender and age group, as in `F 25-34`; `?` for a field that the event did not have."
    )
    ranks: list[RankOutcomes] = Field(description="Counts by rank, from 1 on.")


class OutcomesPositions(BaseModel):
    """Positions in the topics, written in the transaction with the counts of the records before them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(RECORD_FORMAT, description="Format of the record.")
    recommendations: list[int] = Field(description="Next offset of each partition.")
    feedback: list[int] = Field(description="Next offset of each partition.")
    read_to: datetime = Field(description="Moment before which every published record is read.")
    recommendations_id: str | None = Field(
        None, description="Topic id of `recommendations`; the offsets of another topic do not count."
    )
    feedback_id: str | None = Field(
        None, description="Topic id of `feedback`; the offsets of another topic do not count."
    )


class _Written(BaseModel):
    """The part that every record has, of any format."""

    format: int = RECORD_FORMAT


POSITIONS_KEY = "positions"
OUTCOMES_KEY_PREFIX = "outcomes:"
BUCKET_SECONDS = 600


def outcomes_key(since: datetime, release: str, segment: str) -> str:
    return f"{OUTCOMES_KEY_PREFIX}{since:%Y-%m-%dT%H:%M}|{release}|{segment}"


class UnreadableOutcomesError(MarqueeError):
    """A record of `outcomes` under a key of ours is malformed, or of a newer Marquee: its counts are unknown."""


def read_outcomes(topic: str, key: bytes, value: bytes) -> OutcomesRecord:
    """The counts of a record of `outcomes`.

    Raises:
        UnreadableOutcomesError: the record cannot be read; the message has the reason and the remedy.
    """
    record = _read(OutcomesRecord, topic, key, value)
    if outcomes_key(record.since, record.release, record.segment).encode() != key:
        raise _unreadable(topic, key, "it holds the counts of another key")
    return record


def read_positions(topic: str, key: bytes, value: bytes) -> OutcomesPositions:
    """The positions of a record of `outcomes`; raises as `read_outcomes`."""
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
        f"the record {key.decode(errors='replace')!r} of {topic} cannot be read ({why}); upgrade Marquee, or find the other "
        "writer of the topic and write the record again as the contract says"
    )


Z_95 = 1.959963984540054  # of the normal distribution, two-sided


class Interval(NamedTuple):
    """A share and its 95 % interval."""

    low: float
    value: float
    high: float


def wilson(hits: int, trials: int) -> Interval:
    """The share of hits and its score interval (Wilson, "Probable inference, the law of succession", 1927).

    The interval is 0 to 1 where there is no trial.
    """
    if not trials:
        return Interval(0.0, 0.0, 1.0)
    share, z2 = hits / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return Interval(max(0.0, centre - half), share, min(1.0, centre + half))


def difference(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """The p-value of a difference of two shares: the two-proportion z-test, two-sided.

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

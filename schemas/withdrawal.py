"""The compacted topic `withdrawals`: the blocklist of every release. Key: the movie's id as decimal text."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.profile import MAX_ID
from schemas.release import RECORD_FORMAT, now

log = logging.getLogger(__name__)


class Withdrawal(BaseModel):
    """A movie that is not recommended; a null value restores it.

    An unreadable record, or one of a newer format, withdraws as well: a movie too few harms less than one too many.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = Field(RECORD_FORMAT, description="Format of the record.")
    withdrawn_at: datetime = Field(default_factory=now, description="Moment of the withdrawal.")


def withdrawal_key(movie_id: int) -> bytes:
    return b"%d" % movie_id


@dataclass
class WithdrawalsView:
    """The withdrawn movies, each with its record, or None where that is unreadable. `apply` feeds it."""

    movies: dict[int, Withdrawal | None] = field(default_factory=dict)

    def apply(self, key: bytes | None, value: bytes | None) -> int | None:
        """Apply one record, in the order of the topic; returns its movie, None where the key is no id."""
        movie_id = _movie_id(key or b"")
        if movie_id is None:
            log.warning("withdrawals: the key %r is no movie id, and skipped", key)
        elif value is None:
            self.movies.pop(movie_id, None)
        else:
            self.movies[movie_id] = _withdrawal(movie_id, value)
        return movie_id


def _movie_id(key: bytes) -> int | None:
    if not (key.isdigit() and len(key) <= len(str(MAX_ID))):
        return None
    movie_id = int(key)
    return movie_id if 1 <= movie_id <= MAX_ID else None


def _withdrawal(movie_id: int, value: bytes) -> Withdrawal | None:
    try:
        return Withdrawal.model_validate_json(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        log.warning("withdrawals: the record of movie %d cannot be read: %s", movie_id, problem["msg"])
        return None

"""Feedback as ratings: recommended movies that users watched or liked."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from confluent_kafka import Message
from pydantic import ValidationError

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from producer.reader import read_to_end
from schemas.feedback import Action, FeedbackEvent
from schemas.recommendation import Recommendation
from schemas.settings import Settings

# Stars that stand for an action: both count as liked, one more than the other.
STARS: dict[Action, float] = {"watched": 4.0, "liked": 5.0}


@dataclass(frozen=True)
class Deed:
    """Somebody watched or liked a movie; seconds since 1970."""

    user_id: int
    movie_id: int
    stars: float
    at: int


@dataclass(frozen=True)
class Learnt:
    """The data with the ratings from feedback; the number of added ratings and of ignored deeds."""

    data: MovieLens
    added: int
    left_out: int


def deeds(settings: Settings, since: datetime, until: datetime, timeout_s: float) -> list[Deed]:
    """What known users watched and liked of their recommendations, by records of `feedback` from `since` up to `until`.

    Raises:
        UnreachableError, SettingsError, MarqueeError, FatalKafkaError: as `read_to_end`.
    """
    done: dict[str, dict[int, tuple[float, int]]] = {}
    for message in read_to_end(settings, settings.names.feedback, timeout_s=timeout_s):
        at_ms = message.timestamp()[1]
        event = _feedback(message)
        if event and event.action in STARS and since.timestamp() <= at_ms / 1_000 < until.timestamp():
            of_event = done.setdefault(event.event_id, {})
            at = int(event.at.timestamp()) if event.at else at_ms // 1_000
            stars = max(STARS[event.action], of_event.get(event.movie_id, (0.0, 0))[0])
            of_event[event.movie_id] = stars, at
    found = []
    for message in read_to_end(settings, settings.names.recommendations, timeout_s=timeout_s):
        answer = _recommendation(message)
        if answer is None or answer.user_id is None:
            continue
        listed = {movie.movie_id for movie in answer.movies}
        for movie_id, (stars, at) in done.pop(answer.event_id, {}).items():
            if movie_id in listed:
                found.append(Deed(answer.user_id, movie_id, stars, at))
    return found


def with_deeds(data: MovieLens, done: list[Deed]) -> Learnt:
    """The data with a rating for each deed of a user and a movie that it knows, and that it has no rating of yet."""
    rated = set(zip(data.ratings.users.tolist(), data.ratings.movies.tolist(), strict=True))
    user_rows = {id_: row for row, id_ in enumerate(data.users.ids.tolist())}
    new: dict[tuple[int, int], Deed] = {}
    for deed in done:
        user, movie = user_rows.get(deed.user_id), data.movies.position(deed.movie_id)
        if user is not None and movie is not None and (user, movie) not in rated:
            new[user, movie] = deed
    if not new:
        return Learnt(data, 0, len(done))
    pairs, chosen = np.array(list(new), np.int64), list(new.values())
    ratings = Ratings(
        np.concatenate([data.ratings.users, pairs[:, 0]]),
        np.concatenate([data.ratings.movies, pairs[:, 1]]),
        np.concatenate([data.ratings.stars, np.array([deed.stars for deed in chosen], np.float32)]),
        np.concatenate([data.ratings.timestamps, np.array([deed.at for deed in chosen], np.int64)]),
    )
    fingerprint = hashlib.sha256(f"{data.fingerprint} {sorted(map(repr, chosen))}".encode()).hexdigest()
    return Learnt(replace(data, ratings=ratings, fingerprint=fingerprint), len(new), len(done) - len(new))


def _feedback(message: Message) -> FeedbackEvent | None:
    """None where it is a dead letter to the outcomes worker."""
    try:
        return FeedbackEvent.model_validate_json(message.value() or b"")
    except ValidationError:
        return None


def _recommendation(message: Message) -> Recommendation | None:
    try:
        return Recommendation.model_validate_json(message.value() or b"")
    except ValidationError:
        return None

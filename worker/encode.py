"""From lists and reasons to records: JSON recommendations, and dead letters with the event's own bytes."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from schemas import dead_letter
from schemas.dead_letter import RESERVED_HEADER_PREFIX
from schemas.manifest import Stars
from schemas.profile import ProfileEvent
from schemas.recommendation import Retrieval
from worker.batch import Event, Headers, Record, source_of
from worker.catalogue import Catalogue
from worker.decode import Rejection
from worker.rank import Pick

# A person reads it, and a reader's memory pays for it.
MAX_ERROR_CHARACTERS = 1_000


class RecommendationEncoder:
    """Writes the recommendations of one release; what never changes about a movie is encoded once."""

    def __init__(
        self, topic: str, release: str, collection: str, catalogue: Catalogue, stars: Stars | None
    ) -> None:
        self._topic = topic
        self._tail = b'"release":%b,"collection":%b' % (orjson.dumps(release), orjson.dumps(collection))
        self._stars = stars
        self._movies = {
            movie_id: b'"movie_id":%d,"title":%b,"genres":%b'
            % (movie_id, orjson.dumps(title), orjson.dumps(genres))
            for movie_id, title, genres in zip(
                catalogue.movie_ids.tolist(), catalogue.titles, catalogue.genres, strict=True
            )
        }

    def encode(
        self, event: Event, profile: ProfileEvent, picks: Sequence[Pick], retrieval: Retrieval
    ) -> Record:
        """The recommendation that answers `event`, as the design writes it."""
        value = b'{"event_id":%b,"user_id":%b,"movies":[%b],%b,"retrieval":"%b","source":%b}' % (
            orjson.dumps(profile.event_id if profile.event_id is not None else source_of(event)),
            b"null" if profile.user_id is None else b"%d" % profile.user_id,
            b",".join([self._movie(rank, pick) for rank, pick in enumerate(picks, 1)]),
            self._tail,
            retrieval.encode(),
            b'{"topic":%b,"partition":%d,"offset":%d}'
            % (orjson.dumps(event.topic()), event.partition(), event.offset()),
        )
        return Record(self._topic, event.partition(), event.key(), value, copied_headers(event))

    def _movie(self, rank: int, pick: Pick) -> bytes:
        head = b'{"rank":%d,%b,"score":%b' % (rank, self._movies[pick.movie_id], repr(pick.score).encode())
        if self._stars is None:
            return head + b"}"
        stars = min(5.0, max(1.0, self._stars.slope * pick.score + self._stars.intercept))
        return b'%b,"stars":%.2f}' % (head, stars)


def encode_dead_letter(
    topic: str, event: Event, rejection: Rejection, release: str, *, without_value: bool = False
) -> Record:
    """The dead letter of an event: its key, bytes and headers untouched, and why in headers of our own.

    `release` is the one that served when the event failed, so that what a release broke can be found again.
    `without_value` is for one that no broker takes: the value's length and sha256 stand for it.
    """
    value = event.value()
    headers = copied_headers(event)
    headers += [
        (dead_letter.REASON, rejection.reason.encode()),
        (dead_letter.ERROR, rejection.error[:MAX_ERROR_CHARACTERS].encode(errors="replace")),
        (dead_letter.SOURCE, source_of(event).encode()),
        (dead_letter.FAILED_AT, datetime.now(UTC).isoformat(timespec="milliseconds").encode()),
        (dead_letter.RELEASE, release.encode()),
    ]
    if without_value and value is not None:
        headers.append((dead_letter.VALUE_LENGTH, str(len(value)).encode()))
        headers.append((dead_letter.VALUE_SHA256, hashlib.sha256(value).hexdigest().encode()))
        value = None
    return Record(topic, event.partition(), event.key(), value, headers)


def copied_headers(event: Event) -> Headers:
    """An event's headers but for those that are reserved for us."""
    headers = event.headers()
    return [pair for pair in headers if not pair[0].startswith(RESERVED_HEADER_PREFIX)] if headers else []

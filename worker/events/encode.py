"""From lists and reasons to records: JSON recommendations, and dead letters with the event's own bytes."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import repeat
from typing import get_args

import numpy as np
import orjson

from schemas import dead_letter
from schemas.dead_letter import RESERVED_HEADER_PREFIX
from schemas.headers import Headers
from schemas.manifest import Stars
from schemas.profile import MAX_K, ProfileEvent
from schemas.recommendation import Retrieval
from worker.events.aside import EventAside
from worker.events.batch import Event, Record, source_of
from worker.events.decode import Rejection
from worker.release.catalogue import Catalogue
from worker.retrieval.lists import Lists, Scores

# What stands before the movie of a rank, by rank less 1: the end of the one before it, and its own beginning.
_RANKS = [b'{"rank":1,'] + [b'},{"rank":%d,' % rank for rank in range(2, MAX_K + 1)]

# A person reads it, and a reader's memory pays for it.
MAX_ERROR_CHARACTERS = 1_000


class RecommendationEncoder:
    """Writes the recommendations of one release; what never changes about a movie is encoded once."""

    def __init__(
        self, topic: str, release: str, collection: str, catalogue: Catalogue, stars: Stars | None
    ) -> None:
        self._topic = topic
        tail = b'],"release":%b,"collection":%b,' % (orjson.dumps(release), orjson.dumps(collection))
        self._tails: dict[Retrieval, bytes] = {
            retrieval: tail + b'"retrieval":"%b",' % retrieval.encode() for retrieval in get_args(Retrieval)
        }
        self._stars = stars
        self._movies = {
            movie_id: b'"movie_id":%d,"title":%b,"genres":%b,"score":'
            % (movie_id, orjson.dumps(title), orjson.dumps(genres))
            for movie_id, title, genres in zip(
                catalogue.movie_ids.tolist(), catalogue.titles, catalogue.genres, strict=True
            )
        }
        self._sources: dict[tuple[str, int], bytes] = {}  # as many as there are partitions

    def movies(self, lists: Lists) -> list[bytes]:
        """Each list as it stands in `movies`, without its brackets.

        The pieces of all lists are laid out in one, column by column, and joined list by list: nothing in between is
        built for a movie.
        """
        total = len(lists.movie_ids)
        if total == 0:
            return [b""] * len(lists.lengths)
        ends = np.cumsum(lists.lengths)
        ranks = np.arange(total) - np.repeat(ends - lists.lengths, lists.lengths)
        columns: list[Iterable[bytes]] = [
            map(_RANKS.__getitem__, ranks.tolist()),
            map(self._movies.__getitem__, lists.movie_ids.tolist()),
            _texts(lists.scores),
        ]
        if self._stars is not None:
            stars = np.clip(self._stars.slope * lists.scores + self._stars.intercept, 1.0, 5.0)
            columns += [repeat(b',"stars":', total), _texts(np.round(stars, 2))]
        width = len(columns)
        pieces = [b""] * (width * total)
        for column, texts in enumerate(columns):
            pieces[column::width] = texts
        starts = (ends - lists.lengths) * width
        return [
            b"".join((*pieces[start:end], b"}")) if end > start else b""
            for start, end in zip(starts.tolist(), (ends * width).tolist(), strict=True)
        ]

    def encode(self, event: Event, profile: ProfileEvent, movies: bytes, retrieval: Retrieval) -> Record:
        """The recommendation that answers `event`, as the design writes it; `movies` as above."""
        partition = event.partition()
        value = b"".join((
            b'{"event_id":', orjson.dumps(profile.event_id if profile.event_id is not None else source_of(event)),
            b',"user_id":', orjson.dumps(profile.user_id),
            b',"movies":[', movies, self._tails[retrieval],
            self._source(event.topic(), partition), b"%d}}" % event.offset(),
        ))  # fmt: skip
        return Record(self._topic, partition, event.key(), value, copied_headers(event))

    def _source(self, topic: str, partition: int) -> bytes:
        source = self._sources.get((topic, partition))
        if source is None:
            source = b'"source":{"topic":%b,"partition":%d,"offset":' % (orjson.dumps(topic), partition)
            self._sources[topic, partition] = source
        return source


def _texts(numbers: Scores) -> list[bytes]:
    """Each number as JSON has it."""
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def encode_dead_letter(
    topic: str, event: Event, rejection: Rejection, release: str | None, *, without_value: bool = False
) -> Record:
    """The dead letter of an event: its key, bytes and headers untouched, and why in headers of our own.

    `release` is the one that served when the event failed, so that what a release broke can be found again; None for what
    no release has a part in.
    `without_value` is for one that no broker takes: the value's length and sha256 stand for it.
    """
    value = event.kept_value if isinstance(event, EventAside) else event.value()
    headers = copied_headers(event)
    headers += [
        (dead_letter.REASON, rejection.reason.encode()),
        (dead_letter.ERROR, rejection.error[:MAX_ERROR_CHARACTERS].encode(errors="replace")),
        (dead_letter.SOURCE, source_of(event).encode()),
        (dead_letter.FAILED_AT, datetime.now(UTC).isoformat(timespec="milliseconds").encode()),
    ]
    if release is not None:
        headers.append((dead_letter.RELEASE, release.encode()))
    letter = Record(topic, event.partition(), event.key(), value, headers)
    return without_its_value(letter) if without_value else letter


def without_its_value(letter: Record) -> Record:
    """A dead letter whose value's length and sha256 stand for the value, in headers."""
    value = letter.value
    if value is None:
        return letter
    length_and_digest: Headers = [
        (dead_letter.VALUE_LENGTH, str(len(value)).encode()),
        (dead_letter.VALUE_SHA256, hashlib.sha256(value).hexdigest().encode()),
    ]
    return Record(letter.topic, letter.partition, letter.key, None, [*letter.headers, *length_and_digest])


def copied_headers(event: Event) -> Headers:
    """An event's headers but for those that are reserved for us."""
    headers = event.headers()
    return [pair for pair in headers if not pair[0].startswith(RESERVED_HEADER_PREFIX)] if headers else []

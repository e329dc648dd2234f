"""JSON recommendations of ranked lists."""

from collections.abc import Iterable
from itertools import repeat
from typing import get_args

import numpy as np
import orjson

from schemas.manifest import Stars
from schemas.profile import MAX_K, ProfileEvent
from schemas.recommendation import Retrieval
from worker.events import Event, Record, copied_headers, source_of
from worker.release.catalogue import Catalogue
from worker.retrieval.queries import RankedLists, Scores

# The bytes before the movie of a rank, by rank less 1: the end of the movie before it, and its rank.
_RANKS = [b'{"rank":1,'] + [b'},{"rank":%d,' % rank for rank in range(2, MAX_K + 1)]


class RecommendationEncoder:
    """Writes the recommendations of one release. The constant fields of each movie are encoded once."""

    def __init__(
        self, topic: str, release: str, collection: str, catalogue: Catalogue, stars: Stars | None
    ) -> None:
        self._topic = topic
        tail = b'],"release":%b,"collection":%b,' % (orjson.dumps(release), orjson.dumps(collection))
        self._tails: dict[Retrieval, bytes] = {
            retrieval: tail + b'"retrieval":"%b",' % retrieval.encode() for retrieval in get_args(Retrieval)
        }
        self._stars = stars
        self._movies = [
            b'"movie_id":%d,"title":%b,"genres":%b,"score":'
            % (movie_id, orjson.dumps(title), orjson.dumps(genres))
            for movie_id, title, genres in zip(
                catalogue.movie_ids.tolist(), catalogue.titles, catalogue.genres, strict=True
            )
        ]
        self._sources: dict[tuple[str, int], bytes] = {}  # as many as there are partitions

    def movies(self, lists: RankedLists) -> list[bytes]:
        """Each list as the content of `movies`, without the brackets.

        The pieces of all lists are laid out in one list, column by column, and joined list by list: no object is built
        for a movie.
        """
        total = len(lists.rows)
        if total == 0:
            return [b""] * len(lists.lengths)
        ends = np.cumsum(lists.lengths)
        ranks = np.arange(total) - np.repeat(ends - lists.lengths, lists.lengths)
        columns: list[Iterable[bytes]] = [
            map(_RANKS.__getitem__, ranks.tolist()),
            map(self._movies.__getitem__, lists.rows.tolist()),
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
        """The recommendation for `event`, with `movies` as the method of that name returns them."""
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
    """Each number in JSON."""
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")

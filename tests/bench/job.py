"""The job of the seed and the peers, written with the public clients of Paddle, Milvus and Kafka.

Nothing of the worker's hot path is in it, but the same towers, the same collection and the same JSON are.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.profile import DEFAULT_K, ProfileEvent
from schemas.recommendation import SCORE_PLACES, Retrieval
from schemas.settings import Settings, load_settings
from tests.bench.deployment import Deployment
from tests.bench.measurement import KEPT_LISTS
from tests.bench.workload import Draft
from worker.release.store import ReleaseStore
from worker.retrieval.milvus_client import connect

Hits = list[list[tuple[int, float]]]  # of each query: movie id and value of the metric, best first
Mode = Literal["milvus", "exact"]

# A few more than the list has, to replace movies of the history; a list that is still short is searched for again.
_SPARE = 5


class Received(NamedTuple):
    """An event as any Kafka client gives it."""

    value: bytes
    topic: str
    partition: int
    offset: int


class Job:
    """Answers events; one thread at a time."""

    def __init__(self, settings: Settings, release: str, collection: str, mode: Mode = "milvus") -> None:
        self._settings, self._collection, self._mode = settings, collection, mode
        self._release = ReleaseStore(settings.store).load(release, device="cpu")
        self._milvus = connect(settings.milvus)
        catalogue = self._release.catalogue
        self._ids = catalogue.movie_ids
        self._movies = {
            movie_id: {"movie_id": movie_id, "title": title, "genres": genres}
            for movie_id, title, genres in zip(
                self._ids.tolist(), catalogue.titles, catalogue.genres, strict=True
            )
        }
        self._vectors = self._release.embed_movies(0, len(catalogue)) if mode == "exact" else None

    @classmethod
    def from_command_line(cls) -> Self:
        """`SCRIPT RELEASE COLLECTION GROUP MODE`, and settings from the environment."""
        release, collection, _, mode = sys.argv[1:5]
        return cls(load_settings(), release, collection, "exact" if mode == "exact" else "milvus")

    def answer(self, events: Sequence[Received]) -> list[bytes]:
        """The recommendation of each event, as JSON: one embedding and one search for all of them."""
        profiles = [ProfileEvent.model_validate_json(event.value) for event in events]
        vectors = self._release.embed_profiles(profiles)
        limit = DEFAULT_K + _SPARE
        lists = [
            _unseen(hits, profile)
            for hits, profile in zip(self._search(vectors, limit), profiles, strict=True)
        ]
        for row, profile in enumerate(profiles):
            if len(lists[row]) < (profile.k or DEFAULT_K):
                more = (profile.k or DEFAULT_K) + len(profile.recent or ())
                lists[row] = _unseen(self._search(vectors[row : row + 1], more)[0], profile)
        return [
            self._encode(event, profile, picks)
            for event, profile, picks in zip(events, profiles, lists, strict=True)
        ]

    def _search(self, vectors: NDArray[np.float32], limit: int) -> Hits:
        if self._vectors is not None:
            return self._search_exactly(vectors, self._vectors, min(limit, len(self._ids)))
        answer = self._milvus.search(self._collection, data=vectors, limit=limit)
        return [[(hit.id, hit.distance) for hit in hits] for hits in answer]

    def _search_exactly(self, vectors: NDArray[np.float32], movies: NDArray[np.float32], limit: int) -> Hits:
        products = vectors @ movies.T
        best = np.argpartition(products, -limit, axis=1)[:, -limit:]
        scores = np.take_along_axis(products, best, axis=1)
        order = np.argsort(-scores, axis=1)
        ids = self._ids[np.take_along_axis(best, order, axis=1)].tolist()
        ordered = np.take_along_axis(scores, order, axis=1).tolist()
        return [list(zip(row, of_row, strict=True)) for row, of_row in zip(ids, ordered, strict=True)]

    def _encode(self, event: Received, profile: ProfileEvent, picks: list[tuple[int, float]]) -> bytes:
        manifest = self._release.manifest
        scored = [(movie_id, round(manifest.score_scale * raw, SCORE_PLACES)) for movie_id, raw in picks]
        retrieval: Retrieval = self._mode
        return orjson.dumps(
            {
                "event_id": profile.event_id,
                "user_id": profile.user_id,
                "movies": [
                    {"rank": rank, **self._movies[movie_id], "score": score, "stars": self._stars(score)}
                    for rank, (movie_id, score) in enumerate(scored, 1)
                ],
                "release": manifest.release,
                "collection": self._collection,
                "retrieval": retrieval,
                "source": {"topic": event.topic, "partition": event.partition, "offset": event.offset},
            }
        )

    def _stars(self, score: float) -> float | None:
        stars = self._release.manifest.stars
        if stars is None:
            return None
        return round(min(5.0, max(1.0, stars.slope * score + stars.intercept)), 2)


def _unseen(hits: list[tuple[int, float]], profile: ProfileEvent) -> list[tuple[int, float]]:
    """The best of a profile's list among some hits."""
    seen = set(profile.recent or ())
    return [hit for hit in hits if hit[0] not in seen][: profile.k or DEFAULT_K]


_SAMPLE = 1_000

Lists = Mapping[int, tuple[int, ...]]  # movie ids by number of the event


class Reference:
    """Exact answers to the first events of a pool."""

    def __init__(self, deployment: Deployment, pool: Sequence[Draft], folder: Path) -> None:
        job = Job(deployment.settings, deployment.release, deployment.collection, "exact")
        topic = deployment.settings.names.profiles
        results = job.answer(
            [Received(draft.value("reference"), topic, 0, row) for row, draft in enumerate(pool[:_SAMPLE])]
        )
        self.sample = folder / "results.jsonl"
        # Cut off the event's id, the first field: the echo puts in the id of its own event.
        self.sample.write_bytes(b"\n".join(result[result.index(b",") + 1 :] for result in results))
        self._lists = [
            frozenset(movie["movie_id"] for movie in orjson.loads(result)["movies"])
            for result in results[:KEPT_LISTS]
        ]

    def agreement(self, lists: Lists) -> float:
        """The share of lists with the same movies; neighbours within rounding may swap at the cut."""
        same = sum(frozenset(movies) == self._lists[number] for number, movies in lists.items())
        return same / len(lists)

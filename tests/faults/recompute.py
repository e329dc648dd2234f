"""The strictest look at a result: made again from the release that it names alone, by Paddle and a matrix product.

Reads through a plain consumer and the json module; of the worker's code it uses the release (towers, features,
catalogue), and nothing of how it is served.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from schemas.profile import ProfileEvent
from tests.testbed.kafka import Partition
from worker.release.release import Release
from worker.release.store import ReleaseStore

DEFAULT_K = 5
# Between devices and batch sizes; scores are published with six places.
SCORES_WITHIN = 2e-5
_BATCH = 1_000
_WAIT_SECONDS = 5.0
_MOVIES_AT_A_TIME = 4_096


@dataclass(frozen=True)
class Sample:
    """An event and the result that names it, as they stand on Kafka."""

    event: dict[str, Any]
    result: dict[str, Any]


def samples(
    bootstrap_servers: str, profiles: str, recommendations: str, ends: dict[Partition, int], one_of: int
) -> list[Sample]:
    """One of `one_of` events, drawn by their key, that have a committed result before `ends`; each with its result."""

    def drawn(key: bytes | None) -> bool:
        return zlib.crc32(key or b"") % one_of == 0

    events, results = {}, []
    for key, value in _committed(bootstrap_servers, profiles, ends, drawn):
        events[key] = json.loads(value)
    for key, value in _committed(bootstrap_servers, recommendations, ends, drawn):
        results.append((key, json.loads(value)))
    return [Sample(events[key], result) for key, result in results if key in events]


def differences(store: ReleaseStore, sampled: Sequence[Sample]) -> Iterator[str]:
    """The differences from the results of the named release alone, in words."""
    by_release: dict[str, list[Sample]] = defaultdict(list)
    for sample in sampled:
        by_release[sample.result["release"]].append(sample)
    for name, of_release in by_release.items():
        release = store.load(name, device="cpu")
        scores = _scores(release, [ProfileEvent.model_validate(sample.event) for sample in of_release])
        for sample, row in zip(of_release, scores, strict=True):
            problem = difference(sample, release.catalogue.movie_ids, row)
            if problem:
                yield f"event {sample.event.get('event_id')} of release {name}: {problem}"


def difference(
    sample: Sample, movie_ids: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]
) -> str | None:
    """The error in one list, or None; `scores` [movies] are those of `movie_ids` for the event."""
    seen = np.isin(movie_ids, sample.event.get("recent") or [])
    allowed = np.where(seen, -np.inf, scores)
    wanted = np.sort(allowed)[::-1][: sample.event.get("k") or DEFAULT_K]
    listed = sample.result["movies"]
    if len(listed) != len(wanted) or len({movie["movie_id"] for movie in listed}) != len(listed):
        return f"{len(listed)} movies instead of {len(wanted)} different ones"
    score_of = dict(zip(movie_ids.tolist(), allowed.tolist(), strict=True))
    for movie, best in zip(listed, wanted.tolist(), strict=True):
        own = score_of.get(movie["movie_id"])
        if own is None:
            return f"movie {movie['movie_id']} is not in its catalogue"
        if abs(own - best) > SCORES_WITHIN or abs(movie["score"] - own) > SCORES_WITHIN:
            return f"rank {movie['rank']} is movie {movie['movie_id']} of {movie['score']}, which has {own:.6f}, best {best:.6f}"
    return None


def _scores(release: Release, events: list[ProfileEvent]) -> npt.NDArray[np.float64]:
    """Every movie's score for every event, float64 [events, movies]."""
    count, manifest = len(release.catalogue), release.manifest
    movies = np.concatenate(
        [
            release.embed_movies(at, min(at + _MOVIES_AT_A_TIME, count))
            for at in range(0, count, _MOVIES_AT_A_TIME)
        ]
    ).astype(np.float64)
    users = release.embed_profiles(events).astype(np.float64)
    if manifest.metric == "COSINE":
        movies /= np.linalg.norm(movies, axis=1, keepdims=True)
        users /= np.linalg.norm(users, axis=1, keepdims=True)
    product: npt.NDArray[np.float64] = users @ movies.T * manifest.score_scale
    return product


def _committed(
    bootstrap_servers: str, topic: str, ends: dict[Partition, int], drawn: Callable[[bytes | None], bool]
) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a topic's committed records before its ends, those that are drawn."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "marquee-faults-samples",  # nothing is committed under it
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    left = {partition for place, partition in ends if place == topic}
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
    try:
        while left:
            for message in consumer.consume(_BATCH, _WAIT_SECONDS):
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        left.discard(partition)
                    continue
                if offset >= ends[topic, partition]:
                    left.discard(partition)
                elif drawn(message.key()):
                    yield bytes(message.key() or b""), bytes(message.value() or b"")
    finally:
        consumer.close()

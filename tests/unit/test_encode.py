"""Records as the design writes them."""

import hashlib
import json

import numpy as np

from schemas.dead_letter import Reason
from schemas.manifest import Stars
from schemas.profile import ProfileEvent
from schemas.recommendation import Recommendation
from tests.unit.events import PolledEvent
from tests.unit.lists import lists_of
from worker.events import Rejection, encode_dead_letter
from worker.release.catalogue import Catalogue
from worker.retrieval.queries import RankedItem
from worker.serving.encoder import RecommendationEncoder

CATALOGUE = Catalogue(
    np.array([1, 3030], dtype=np.int64),
    ['Toy "Story" (1995)', "Yojimbo (1961)"],
    [["Animation"], ["Comedy", "Drama", "Western"]],
    np.array([1995, 1961], dtype=np.int32),
)
FUSION_STARS = Stars(slope=0.5, intercept=2.5)


def encoder(stars: Stars | None) -> RecommendationEncoder:
    return RecommendationEncoder("marquee.recommendations", "r-1", "marquee_r_1_1", CATALOGUE, stars)


def test_a_recommendation_is_decoded_as_the_contract_defines_it() -> None:
    polled = PolledEvent(extra=[("traceparent", b"00-1"), ("marquee.reason", b"not yours to set")])

    encodes = encoder(FUSION_STARS)
    _, movies = encodes.movies(lists_of([[RankedItem(0, 1.0)], [RankedItem(1, 2.944), RankedItem(0, -9.0)]]))
    record = encodes.encode(polled, ProfileEvent(event_id='6f"1c', user_id=42), movies, "milvus")

    assert (record.topic, record.partition, record.key) == ("marquee.recommendations", 3, b"42")
    assert record.headers == [("traceparent", b"00-1")]
    assert record.value is not None
    assert json.loads(record.value) == {
        "event_id": '6f"1c',
        "user_id": 42,
        "movies": [
            {"rank": 1, "movie_id": 3030, "title": "Yojimbo (1961)", "genres": ["Comedy", "Drama", "Western"],
             "score": 2.944, "stars": 3.97},
            {"rank": 2, "movie_id": 1, "title": 'Toy "Story" (1995)', "genres": ["Animation"], "score": -9.0, "stars": 1.0},
        ],
        "release": "r-1",
        "collection": "marquee_r_1_1",
        "retrieval": "milvus",
        "source": {"topic": "marquee.profiles", "partition": 3, "offset": 1042},
    }  # fmt: skip
    Recommendation.model_validate_json(record.value)


def test_without_an_event_id_the_offset_names_the_event_and_without_stars_there_are_none() -> None:
    encodes = encoder(None)
    (movies,) = encodes.movies(lists_of([[RankedItem(0, 1e-06)]]))
    record = encodes.encode(PolledEvent(), ProfileEvent(), movies, "exact")

    assert record.value is not None
    value = json.loads(record.value)
    assert value["event_id"] == "marquee.profiles-3-1042"
    assert value["user_id"] is None
    assert value["movies"][0]["score"] == 1e-06
    assert "stars" not in value["movies"][0]


def test_lists_of_any_length_stand_side_by_side() -> None:
    lists = [[], [RankedItem(0, 0.5)] * 100, [RankedItem(1, 0.25)], []]

    written = encoder(FUSION_STARS).movies(lists_of(lists))

    read = [json.loads(b"[%b]" % movies) for movies in written]
    assert [[(movie["movie_id"], movie["score"]) for movie in movies] for movies in read] == [
        [(CATALOGUE.movie_ids[item.row], item.score) for item in items] for items in lists
    ]
    assert [[movie["rank"] for movie in movies] for movies in read] == [[], list(range(1, 101)), [1], []]
    assert encoder(None).movies(lists_of([[], []])) == [b"", b""]


def test_a_dead_letter_contains_the_event_and_the_reason() -> None:
    polled = PolledEvent(body=b"\x00junk", extra=[("a", None), ("marquee.source", b"an older place")])

    rejection = Rejection(Reason.NOT_JSON, "not JSON: ☃")
    record = encode_dead_letter("marquee.dead-letters", polled, rejection, "20261121T101500-3f9c2a")

    headers = dict(record.headers)
    assert (record.partition, record.key, record.value) == (3, b"42", b"\x00junk")
    assert headers["a"] is None
    assert headers["marquee.reason"] == b"not_json"
    assert headers["marquee.error"] == "not JSON: ☃".encode()
    assert headers["marquee.source"] == b"marquee.profiles-3-1042"
    assert headers["marquee.release"] == b"20261121T101500-3f9c2a"
    assert len(record.headers) == len(headers)


def test_a_dead_letter_without_its_value_contains_length_and_digest() -> None:
    polled = PolledEvent(body=b"x" * 1_000)

    rejection = Rejection(Reason.PROCESSING_FAILED, "large")
    record = encode_dead_letter("d", polled, rejection, "a-release", without_value=True)

    headers = dict(record.headers)
    assert record.value is None
    assert headers["marquee.value_length"] == b"1000"
    assert headers["marquee.value_sha256"] == hashlib.sha256(b"x" * 1_000).hexdigest().encode()

"""Events that ask: each with its own filter and exclusions, in one stream, on real Kafka and Milvus."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ops.local.milvus import LocalMilvus
from producer.endings import Result
from schemas.profile import ProfileEvent
from schemas.settings import MilvusSettings, Settings
from tests.integration.test_worker import everything, publish
from tests.testbed.indexing import activate
from tests.testbed.processes import Process
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.release.vectors import unit_length
from worker.retrieval.index import ItemIds
from worker.retrieval.milvus import Milvus
from worker.retrieval.queries import queries_of
from worker.retrieval.ranking import rank_all
from worker.serving.loader import embed_catalogue

EVENTS, ASKING = 1_200, 1_000
GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Horror",
    "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western", "No such genre",
)  # fmt: skip


def asking(movies: list[int]) -> list[dict[str, Any]]:
    """Events with filters of their own, some of which no movie matches; every sixth event has none."""
    rng = random.Random(5)
    asked: set[str] = set()
    events = []
    for number in range(EVENTS):
        event: dict[str, Any] = {
            "user_id": number + 1,
            "age": rng.randint(1, 80),
            "k": rng.choice([1, 5, 5, 5, 10, 100]),
            "recent": rng.sample(movies, rng.choice([0, 10, 50])),
            "exclude": [],
            "filter": None,
        }
        if number % 6:
            event["filter"] = wanted(rng, asked)
            event["exclude"] = rng.sample(movies, rng.choice([1, 5, 100]))
        events.append(event)
    assert len(asked) == ASKING
    return events


def wanted(rng: random.Random, asked: set[str]) -> dict[str, Any]:
    """A filter that was not asked for before."""
    while True:
        first = rng.randint(1900, 2000)
        drawn = {
            "genres": rng.sample(GENRES, rng.randint(0, 3)) or None,
            "not_genres": rng.sample(GENRES, rng.randint(0, 2)) or None,
            "years": rng.choice([None, [first, first + rng.randint(0, 60)]]),
        }
        if any(drawn.values()) and str(drawn) not in asked:
            asked.add(str(drawn))
            return drawn


class Catalogue:
    """Exact search in pandas: score every movie, keep those that qualify, sort, cut."""

    def __init__(self, release: Release) -> None:
        catalogue = release.catalogue
        self.release = release
        self.vectors = embed_catalogue(release).astype(np.float64)
        self.movies = pd.DataFrame(
            {"movie_id": catalogue.movie_ids, "genres": catalogue.genres, "year": catalogue.years}
        )

    def best(self, event: dict[str, Any]) -> pd.DataFrame:
        profile = ProfileEvent(**{key: value for key, value in event.items() if key != "filter"})
        query = unit_length(self.release.embed_profiles([profile]), self.release.manifest)[0]
        movies = self.movies.assign(score=self.vectors @ query * self.release.manifest.score_scale)
        movies = movies[~movies.movie_id.isin(event["recent"] + event["exclude"])]
        wanted = event["filter"] or {}
        if wanted.get("genres"):
            movies = movies[np.array([bool(set(of) & set(wanted["genres"])) for of in movies.genres], bool)]
        if wanted.get("not_genres"):
            movies = movies[np.array([not set(of) & set(wanted["not_genres"]) for of in movies.genres], bool)]
        if wanted.get("years"):
            movies = movies[movies.year.between(*wanted["years"])]
        return movies.sort_values(["score", "movie_id"], ascending=[False, True])


def assert_best(movies: list[tuple[int, float]], qualifying: pd.DataFrame, k: int) -> None:
    """The list is the first `k` that qualify; those within 1e-5 of each other may swap, also over the cut."""
    assert len(movies) == len({movie_id for movie_id, _ in movies}) == min(k, len(qualifying))
    scores = qualifying.set_index("movie_id").score
    for (movie_id, score), due in zip(movies, qualifying.score, strict=False):
        assert score == pytest.approx(scores[movie_id], abs=2e-5)
        assert score == pytest.approx(due, abs=2e-5)


def test_a_thousand_events_with_constraints_of_their_own_get_what_exact_search_gives(
    settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"store": fusion_store})
    release = ReleaseStore(settings.store).load(activate(settings).release)
    events = asking(release.catalogue.movie_ids.tolist())
    publish(settings, [json.dumps(event).encode() for event in events])

    with Process("worker", settings, tmp_path):
        outcomes = everything(settings, EVENTS, seconds=240)

    exact = Catalogue(release)
    results = [outcome.recommendation for outcome in outcomes if isinstance(outcome, Result)]
    assert sorted(result.user_id or 0 for result in results) == list(range(1, EVENTS + 1))
    for result in results:
        event = events[(result.user_id or 0) - 1]
        movies = [(movie.movie_id, movie.score) for movie in result.movies]
        assert_best(movies, exact.best(event), event["k"])
    assert {result.retrieval for result in results} == {"milvus", "exact"}
    assert any(not result.movies for result in results)


def test_milvus_alone_gives_the_same_where_the_worker_keeps_no_copy(
    milvus: LocalMilvus, settings: Settings, fusion_store: str
) -> None:
    settings = settings.model_copy(update={"store": fusion_store})
    active = activate(settings)
    release = ReleaseStore(settings.store).load(active.release)
    client = Milvus(MilvusSettings(uri=milvus.uri))
    events = asking(release.catalogue.movie_ids.tolist())[:60]
    profiles = [ProfileEvent.model_validate_json(json.dumps(event)) for event in events]
    ids = ItemIds(release.catalogue.movie_ids)

    found = rank_all(
        client.index(active.collection, ids),
        queries_of(profiles, release.embed_profiles(profiles), ids),
        rows=len(ids),
        scale=release.manifest.score_scale,
    )

    exact = Catalogue(release)
    for event, items in zip(events, found.by_query(), strict=True):
        assert_best([(int(ids.ids[item.row]), item.score) for item in items], exact.best(event), event["k"])
    client.close()

"""The indexer on a real Kafka and both Milvus servers."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from schemas import kafka as kafka_config
from schemas.profile import ProfileEvent
from schemas.release import ReleaseState
from schemas.settings import Settings
from tests.testbed.indexing import (
    TIMEOUT,
    carry_out,
    collections,
    corrupt,
    indexer,
    names,
    view_of,
    with_store,
)
from tests.testbed.releases import write_untrained_release
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore
from worker.retrieval.exact import ExactIndex
from worker.retrieval.index import ItemIds
from worker.retrieval.milvus import Milvus
from worker.retrieval.milvus_client import connect


@pytest.fixture
def both(settings: Settings, two_releases: Path) -> Settings:
    """On each Milvus server."""
    return with_store(settings, two_releases)


@pytest.fixture
def lite(lite_settings: Settings, two_releases: Path) -> Settings:
    """On Milvus Lite alone."""
    return with_store(lite_settings, two_releases)


def test_an_indexed_release_is_active_and_answers_as_exact_search_does(both: Settings) -> None:
    release = names(both)[0]
    with indexer(both):
        outcome = carry_out(both, "index", release)
    assert outcome.outcome == "done", outcome.reason

    view = view_of(both)
    record = view.releases[release]
    assert view.active is not None
    assert (view.active.release, view.active.epoch) == (release, 1)
    assert view.active.collection == record.collection == both.names.collection(release, 1)
    assert (record.state, record.progress) == (ReleaseState.ACTIVE, 1.0)

    store = ReleaseStore(both.store)
    loaded = store.load(release, device="cpu")
    vectors = store.read_vectors(release, record.vectors_sha256 or "")
    queries = loaded.embed_profiles([ProfileEvent(age=age) for age in range(18, 60)])
    client = Milvus(both.milvus)
    index = client.index(view.active.collection, ItemIds(loaded.catalogue.movie_ids))
    scores = index.search(queries, 10).scores
    expected = ExactIndex(vectors).search(queries, 10).scores
    assert record.rows == client.count(view.active.collection) == len(vectors)
    assert np.abs(scores - expected).max() < 1e-5
    client.close()


def test_a_corrupt_release_changes_nothing(lite: Settings) -> None:
    good, bad = names(lite)
    corrupt(lite, bad)
    with indexer(lite):
        carry_out(lite, "index", good)
        before = view_of(lite).active
        outcome = carry_out(lite, "index", bad)
    assert outcome.outcome == "refused"
    assert "sha256" in (outcome.reason or "")
    view = view_of(lite)
    assert view.active == before
    assert view.releases[bad].state == ReleaseState.REJECTED
    assert view.releases[bad].reason == outcome.reason
    assert collections(lite) == [lite.names.collection(good, 1)]


def test_a_rollback_builds_nothing(lite: Settings) -> None:
    first, second = names(lite)
    with indexer(lite):
        for release in (first, second):
            carry_out(lite, "index", release)
        outcome = carry_out(lite, "rollback")
    assert outcome.outcome == "done", outcome.reason
    view = view_of(lite)
    assert view.active is not None
    assert (view.active.release, view.active.previous, view.active.epoch) == (first, second, 3)
    assert view.active.collection == lite.names.collection(first, 1)
    assert view.releases[first].attempt == view.releases[second].attempt == 1
    assert view.releases[second].state == ReleaseState.RETIRED


def test_a_malformed_command_is_skipped(lite: Settings) -> None:
    producer = Producer(kafka_config.producer(lite.kafka))
    for value in (b"{", b'{"action": "explode"}', b'{"action": "index", "release": "../x"}', None):
        producer.produce(lite.names.release_commands, value)
    assert producer.flush(TIMEOUT) == 0
    with indexer(lite):
        assert carry_out(lite, "index", names(lite)[0]).outcome == "done"


def test_a_large_catalogue_gets_an_hnsw_index_and_publishes_its_recall(settings: Settings) -> None:
    """Large enough for Milvus Standalone to build a graph: it searches up to 1,024 rows one by one."""
    write_untrained_release(Path(settings.store), movies=3_000, dimension=16)
    ensure_topics(settings, TIMEOUT)
    release = names(settings)[0]
    large = settings.indexer.model_copy(update={"exact_movies": 2_999})
    with indexer(settings.model_copy(update={"indexer": large})):
        outcome = carry_out(settings, "index", release)
        assert "HNSW, recall@5" in (outcome.reason or "")
        record = view_of(settings).releases[release]
        assert (record.index, record.state, record.rows) == ("HNSW", ReleaseState.ACTIVE, 3_000)
        assert record.recall_at_5 is not None
        assert 0.9 <= record.recall_at_5 <= 1.0
        assert record.ef is not None
        assert index_type(settings, record.collection or "") == "HNSW"
    with indexer(settings):
        carry_out(settings, "index", release)
    record = view_of(settings).releases[release]
    assert (record.index, record.recall_at_5) == ("FLAT", 1.0)
    assert index_type(settings, record.collection or "") == "FLAT"


def index_type(settings: Settings, collection: str) -> str:
    """The index type that Milvus reports for a collection."""
    with closing(connect(settings.milvus)) as client:
        return str(client.describe_index(collection, "vector")["index_type"])

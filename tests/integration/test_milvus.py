"""Collections and searches on both Milvus servers."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ops.local.milvus import LocalMilvus, MilvusLite
from schemas.errors import SettingsError
from schemas.settings import MilvusSettings, load_settings
from worker.errors import MilvusError, SlowMilvusError
from worker.retrieval.exact import ExactIndex
from worker.retrieval.milvus import Metric, Milvus, Vectors, connect

MOVIES, DIMENSION = 500, 16


@pytest.fixture
def client(milvus: LocalMilvus) -> Iterator[Milvus]:
    client = Milvus(MilvusSettings(uri=milvus.uri))
    yield client
    for collection in client.collections("it_"):
        client.drop(collection)
    client.close()


def some_vectors(n: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(n, DIMENSION)).astype(np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def fill(client: Milvus, collection: str, vectors: Vectors, metric: Metric = "IP") -> None:
    n = len(vectors)
    client.create(collection, DIMENSION)
    ids, years = np.arange(1, n + 1), np.full(n, 1999)
    client.insert(collection, ids, vectors, years, [["Comedy", "Drama"], []] * (n // 2))
    client.finish(collection, metric)


@pytest.mark.parametrize("metric", ["IP", "COSINE"])
def test_answers_are_those_of_exact_search(client: Milvus, metric: Metric) -> None:
    vectors, queries = some_vectors(MOVIES, 1), some_vectors(64, 2)
    fill(client, "it_exact", vectors, metric)

    ids, scores = client.search("it_exact", queries, 10)

    expected_ids, expected_scores = ExactIndex(np.arange(1, MOVIES + 1), vectors).search(queries, 10)
    assert ids.dtype == np.dtype(np.int64)
    assert scores.dtype == np.dtype(np.float32)
    assert np.array_equal(ids, expected_ids)
    assert np.abs(scores - expected_scores).max() < 1e-5


@pytest.mark.parametrize("expression", ["", "year > 2000", "movie_id <= 3"])
def test_columns_are_what_the_public_api_gives(client: Milvus, milvus: LocalMilvus, expression: str) -> None:
    fill(client, "it_public", some_vectors(MOVIES, 1))
    queries = some_vectors(16, 2)

    ids, scores = client.search("it_public", queries, 10, expression)

    with closing(connect(MilvusSettings(uri=milvus.uri))) as public:
        answer = public.search(
            "it_public", queries.tolist(), filter=expression, limit=10, anns_field="vector"
        )
    assert ids.tolist() == [[hit.id for hit in hits] for hits in answer] if ids.size else not any(answer)
    assert scores == pytest.approx(
        np.array([[hit["distance"] for hit in hits] for hits in answer]).reshape(scores.shape), abs=1e-6
    )


def test_a_small_collection_gives_as_many_columns_as_it_has_movies(client: Milvus) -> None:
    fill(client, "it_small", some_vectors(4, 1))
    ids, scores = client.search("it_small", some_vectors(3, 2), 10)
    assert ids.shape == scores.shape == (3, 4)
    assert client.rows("it_small") == 4


def test_creating_begins_anew(client: Milvus) -> None:
    fill(client, "it_again", some_vectors(10, 1))
    fill(client, "it_again", some_vectors(6, 1))
    assert client.rows("it_again") == 6


def test_finishing_twice_is_the_same(client: Milvus) -> None:
    fill(client, "it_twice", some_vectors(10, 1))
    client.finish("it_twice", "IP")
    assert client.rows("it_twice") == 10


def test_dropping_what_is_not_there_is_as_good(client: Milvus) -> None:
    client.drop("it_nothing")
    fill(client, "it_gone", some_vectors(4, 1))
    client.drop("it_gone")
    assert client.collections("it_") == []
    with pytest.raises(MilvusError, match=r"could not search it_gone.*`marquee reindex RELEASE`"):
        client.search("it_gone", some_vectors(1, 1), 1)


def test_the_alias_moves(client: Milvus) -> None:
    for name, n in (("it_a", 2), ("it_b", 4)):
        fill(client, name, some_vectors(n, 1))
        client.point_alias("it_people", name)
        client.point_alias("it_people", name)
        assert client.rows("it_people") == n


def test_a_server_that_comes_back_searches_what_it_had_loaded(tmp_path: Path) -> None:
    with MilvusLite(tmp_path / "lite") as server:
        client = Milvus(MilvusSettings(uri=server.uri, timeout_s=5))
        vectors = some_vectors(50, 1)
        fill(client, "it_restart", vectors)

        server.kill()
        with pytest.raises(MilvusError):
            client.search("it_restart", vectors[:2], 3)
        server.start()

        # The way there opens again by itself, a moment later; each call until then fails at once.
        deadline = time.monotonic() + 30
        while True:
            try:
                ids, _ = client.search("it_restart", vectors[:2], 3)
                break
            except MilvusError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert ids[:, 0].tolist() == [1, 2]
        client.close()


def wait_until_stopped(pid: int) -> None:
    """On a busy machine a thread goes on until another of its process has had its turn to take the signal."""
    while {
        stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    } != {"T"}:
        time.sleep(0.01)


def test_a_server_that_is_gone_is_told_from_one_that_takes_too_long(tmp_path: Path) -> None:
    with MilvusLite(tmp_path / "lite") as server:
        client = Milvus(MilvusSettings(uri=server.uri, timeout_s=2))
        vectors = some_vectors(50, 1)
        fill(client, "it_slow", vectors)
        assert server.pid is not None

        # One that stands still: it has the call, and does not answer it.
        os.kill(server.pid, signal.SIGSTOP)
        wait_until_stopped(server.pid)
        try:
            with pytest.raises(SlowMilvusError, match="could not search it_slow"):
                client.search("it_slow", vectors[:2], 3)
        finally:
            os.kill(server.pid, signal.SIGCONT)

        # One that is gone, where asking for less would be of no use.
        server.kill()
        with pytest.raises(MilvusError) as gone:
            client.search("it_slow", vectors[:2], 3)
        assert not isinstance(gone.value, SlowMilvusError)
        client.close()


def test_no_milvus_is_said_in_one_sentence() -> None:
    client = Milvus(MilvusSettings(uri="http://127.0.0.1:9", timeout_s=1))
    with pytest.raises(MilvusError, match=r"Milvus at http://127\.0\.0\.1:9 could not list"):
        client.collections("")
    with pytest.raises(SettingsError, match="MARQUEE_MILVUS__URI"):
        Milvus(MilvusSettings(uri="nonsense")).collections("")


@pytest.fixture
def database(milvus: LocalMilvus) -> Iterator[str]:
    """A database of the server, beside its default one."""
    name = f"shop_{os.urandom(4).hex()}"
    with closing(connect(MilvusSettings(uri=milvus.uri))) as admin:
        admin.create_database(name)
        yield name
        with closing(connect(MilvusSettings(uri=milvus.uri, database=name))) as inside:
            for collection in inside.list_collections():
                inside.drop_collection(collection)
        admin.drop_database(name)


@pytest.mark.parametrize("in_uri", [True, False], ids=["in-the-uri", "by-its-setting"])
def test_what_is_made_in_a_database_is_searched_in_it(
    client: Milvus, milvus: LocalMilvus, database: str, in_uri: bool
) -> None:
    settings = (
        MilvusSettings(uri=f"{milvus.uri}/{database}")
        if in_uri
        else MilvusSettings(uri=milvus.uri, database=database)
    )
    inside, vectors = Milvus(settings), some_vectors(10, 1)
    fill(client, "it_database", some_vectors(4, 2))  # of the same name, in the default one
    fill(inside, "it_database", vectors)
    inside.point_alias("it_people", "it_database")

    ids, _ = inside.search("it_database", vectors, 1)

    assert ids[:, 0].tolist() == list(range(1, 11))
    assert (inside.rows("it_database"), client.rows("it_database")) == (10, 4)
    inside.drop("it_database")
    assert (inside.owner("it_database"), client.owner("it_database")) == (None, "")
    inside.close()


def test_a_database_that_is_not_there_is_said_in_a_sentence(milvus: LocalMilvus) -> None:
    for settings in (
        MilvusSettings(uri=milvus.uri, database="nowhere"),
        MilvusSettings(uri=f"{milvus.uri}/nowhere"),
    ):
        with pytest.raises(SettingsError, match=r"has no database nowhere.*MARQUEE_MILVUS__DATABASE"):
            Milvus(settings).collections("")


@pytest.mark.parametrize("milvus_settings", [{"uri": "http://host:19530/a/b"}, {"uri": "http://host:1/a", "database": "b"}])  # fmt: skip
def test_two_names_of_a_database_are_refused(milvus_settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="names the database"):
        load_settings(milvus=milvus_settings)


def test_the_owner_of_a_collection_is_read_back(client: Milvus) -> None:
    client.create("it_owned", DIMENSION, "cluster|shop.")
    client.create("it_unmarked", DIMENSION)
    assert [client.owner(name) for name in ("it_owned", "it_unmarked", "it_none")] == [
        "cluster|shop.",
        "",
        None,
    ]
    client.mark("it_unmarked", "cluster|shop-")
    assert client.owner("it_unmarked") == "cluster|shop-"

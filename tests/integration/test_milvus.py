"""Milvus as an index store: the contract on both servers, and servers that are away, slow or refuse."""

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
from schemas.profile import Filter
from schemas.settings import MilvusSettings, load_settings
from tests.index_contract import (
    CATALOGUE,
    FILTERS,
    PREFIX,
    QUERIES,
    VECTORS,
    IndexStoreContract,
    MakeIndex,
    VectorIndexContract,
    catalogue,
    fill,
)
from worker.errors import MilvusError, SlowMilvusError
from worker.retrieval.index import Hits, ItemIds, Metric, VectorIndex
from worker.retrieval.milvus import Milvus
from worker.retrieval.milvus_client import connect, expression

ITEMS = ItemIds(CATALOGUE.movie_ids)


@pytest.fixture
def store(milvus: LocalMilvus) -> Iterator[Milvus]:
    store = Milvus(MilvusSettings(uri=milvus.uri))
    yield store
    for collection in store.list(PREFIX):
        store.drop(collection)
    store.close()


class TestMilvus(VectorIndexContract, IndexStoreContract):
    @pytest.fixture
    def make_index(self, store: Milvus) -> MakeIndex:
        def make(metric: Metric) -> VectorIndex:
            fill(store, "it_index", metric=metric)
            return store.index("it_index", ITEMS)

        return make


@pytest.mark.parametrize("filter_", [None, *FILTERS], ids=str)
def test_hits_are_those_of_the_public_search(
    store: Milvus, milvus: LocalMilvus, filter_: Filter | None
) -> None:
    fill(store, "it_public")

    hits = store.index("it_public", ITEMS).search(QUERIES, 10, filter_=filter_)

    with closing(connect(MilvusSettings(uri=milvus.uri))) as public:
        answer = public.search(
            "it_public", QUERIES.tolist(), filter=expression(filter_), limit=10, anns_field="vector"
        )
    assert [[ITEMS.ids[row] for row in rows] for rows in hits.rows.tolist()] == [
        [hit.id for hit in found] for found in answer
    ]
    assert hits.scores == pytest.approx(
        np.array([[hit["distance"] for hit in found] for found in answer]).reshape(hits.scores.shape),
        abs=1e-6,
    )


def test_a_lost_collection_names_the_command_that_builds_another(store: Milvus) -> None:
    with pytest.raises(MilvusError, match=r"could not search it_gone.*`marquee reindex RELEASE`"):
        store.index("it_gone", ITEMS).search(QUERIES[:1], 1)


def nearest(store: Milvus, collection: str) -> Hits:
    return store.index(collection, ITEMS).search(VECTORS[:2], 3)


def test_a_server_that_comes_back_searches_what_it_had_loaded(tmp_path: Path) -> None:
    with MilvusLite(tmp_path / "lite") as server:
        store = Milvus(MilvusSettings(uri=server.uri, timeout_s=5))
        fill(store, "it_restart")

        server.kill()
        with pytest.raises(MilvusError):
            nearest(store, "it_restart")
        server.start()

        # The way there opens again by itself, a moment later; each call until then fails at once.
        deadline = time.monotonic() + 30
        while True:
            try:
                hits = nearest(store, "it_restart")
                break
            except MilvusError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert hits.rows[:, 0].tolist() == [0, 1]
        store.close()


def wait_until_stopped(pid: int) -> None:
    """On a busy machine a thread goes on until another of its process has had its turn to take the signal."""
    while {
        stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    } != {"T"}:
        time.sleep(0.01)


def test_a_server_that_is_gone_is_told_from_one_that_takes_too_long(tmp_path: Path) -> None:
    with MilvusLite(tmp_path / "lite") as server:
        store = Milvus(MilvusSettings(uri=server.uri, timeout_s=2))
        fill(store, "it_slow")
        assert server.pid is not None

        # A stopped server has the call, and does not answer it.
        os.kill(server.pid, signal.SIGSTOP)
        wait_until_stopped(server.pid)
        try:
            with pytest.raises(SlowMilvusError, match="could not search it_slow"):
                nearest(store, "it_slow")
        finally:
            os.kill(server.pid, signal.SIGCONT)

        # One that is gone, where asking for less would be of no use.
        server.kill()
        with pytest.raises(MilvusError) as gone:
            nearest(store, "it_slow")
        assert not isinstance(gone.value, SlowMilvusError)
        store.close()


def test_no_milvus_is_said_in_one_sentence() -> None:
    store = Milvus(MilvusSettings(uri="http://127.0.0.1:9", timeout_s=1))
    with pytest.raises(MilvusError, match=r"Milvus at http://127\.0\.0\.1:9 could not list"):
        store.list("")
    with pytest.raises(SettingsError, match="MARQUEE_MILVUS__URI"):
        Milvus(MilvusSettings(uri="nonsense")).list("")


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
    store: Milvus, milvus: LocalMilvus, database: str, in_uri: bool
) -> None:
    settings = (
        MilvusSettings(uri=f"{milvus.uri}/{database}")
        if in_uri
        else MilvusSettings(uri=milvus.uri, database=database)
    )
    inside, other = Milvus(settings), catalogue(4)
    fill(store, "it_database", other, VECTORS[-4:])  # of the same name, in the default database
    fill(inside, "it_database")
    inside.alias("it_people", "it_database")

    hits = nearest(inside, "it_database")

    assert hits.rows[:, 0].tolist() == [0, 1]
    assert (inside.count("it_database"), store.count("it_database")) == (len(ITEMS), 4)
    inside.drop("it_database")
    assert (inside.owner("it_database"), store.owner("it_database")) == (None, "")
    inside.close()


def test_a_database_that_is_not_there_is_said_in_a_sentence(milvus: LocalMilvus) -> None:
    for settings in (
        MilvusSettings(uri=milvus.uri, database="nowhere"),
        MilvusSettings(uri=f"{milvus.uri}/nowhere"),
    ):
        with pytest.raises(SettingsError, match=r"has no database nowhere.*MARQUEE_MILVUS__DATABASE"):
            Milvus(settings).list("")


@pytest.mark.parametrize("milvus_settings", [{"uri": "http://host:19530/a/b"}, {"uri": "http://host:1/a", "database": "b"}])  # fmt: skip
def test_two_names_of_a_database_are_refused(milvus_settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="names the database"):
        load_settings(milvus=milvus_settings)

"""Deployments with similar prefixes on one Kafka, one Milvus and one store: none touches the collections of another."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.settings import Settings
from tests.testbed.indexing import activate, carry_out, indexer, names, until, view_of
from worker.errors import ForeignCollectionError
from worker.indexer.ownership import Ownership, owner_of
from worker.indexer.sweep import Sweep
from worker.kafka.topics import ensure_topics
from worker.release.files import StoreFiles
from worker.release.store import VECTORS_FOLDER, ReleaseStore
from worker.retrieval.milvus import Milvus

Neighbours = list[Settings]


@pytest.fixture
def neighbours(settings: Settings, two_releases: Path, monkeypatch: pytest.MonkeyPatch) -> Neighbours:
    """`shop.` and `shop-`, whose indexers clean up twice a second. Kafka itself keeps `shop_` apart from `shop.`."""
    monkeypatch.setattr("worker.indexer.loop._SWEEP_SECONDS", 0.5)
    shutil.copytree(two_releases, settings.store)
    word = f"shop{uuid4().hex[:6]}"
    shops = [settings.model_copy(update={"prefix": f"{word}{mark}"}) for mark in ".-"]
    for shop in shops:
        ensure_topics(shop, 60)
    return shops


@pytest.fixture
def client(settings: Settings) -> Iterator[Milvus]:
    with closing(Milvus(settings.milvus)) as client:
        yield client


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes of the deployments that have cleaned up, in that order."""
    done: list[str] = []
    sweep = Sweep._sweep

    def counted(self: Sweep, job: object) -> None:
        sweep(self, job)  # type: ignore[arg-type]
        done.append(self._names.prefix)

    monkeypatch.setattr(Sweep, "_sweep", counted)
    return done


def active_of(shop: Settings) -> str:
    active = view_of(shop).active
    assert active is not None
    return active.collection


def test_each_keeps_its_active_collection_and_its_alias(
    neighbours: Neighbours, client: Milvus, sweeps: list[str]
) -> None:
    # Given two deployments that serve the same release
    with ExitStack() as running:
        for shop in neighbours:
            running.enter_context(indexer(shop))
            assert carry_out(shop, "index", names(shop)[0]).outcome == "done"
        # When each has cleaned up twice more
        sweeps.clear()
        until(lambda: all(sweeps.count(shop.prefix) >= 2 for shop in neighbours))
    # Then each has a collection and an alias of its own
    active = [active_of(shop) for shop in neighbours]
    assert len(set(active)) == 2
    for shop, collection in zip(neighbours, active, strict=True):
        assert client.owner(collection) == owner_of(shop)
        assert client.count(collection) == view_of(shop).releases[names(shop)[0]].rows
        assert client.count(shop.names.active_alias) == client.count(collection)


def test_collections_of_earlier_indexers_serve_on_and_go_only_where_a_record_names_them(
    neighbours: Neighbours, client: Milvus, sweeps: list[str]
) -> None:
    shop, neighbour = neighbours[:2]
    first, second = names(shop)
    # Given a release in the form of before, the same form of a neighbour's, and a half-built one that no record names
    served = activate(shop, release=first, plain=True).collection
    theirs = activate(neighbour, release=second, plain=True).collection
    half_built = served.removesuffix("_1") + "_7"
    client.create(half_built, 4)
    assert shop.names.attempt_at(theirs) is not None
    # When indexers of this version clean up
    with indexer(shop), indexer(neighbour):
        until(lambda: all(sweeps.count(each.prefix) >= 2 for each in (shop, neighbour)))
        assert client.owner(served) == owner_of(shop)
        assert client.owner(theirs) == owner_of(neighbour)
        # When the release is replaced and given up
        assert carry_out(shop, "index", second).outcome == "done"
        assert carry_out(shop, "retire", first).outcome == "done"
        # Then the old collection goes, and nothing else
        until(lambda: client.owner(served) is None)
        sweeps.clear()
        until(lambda: all(sweeps.count(each.prefix) >= 2 for each in (shop, neighbour)))
    assert client.owner(half_built) == ""
    assert client.owner(theirs) == owner_of(neighbour)
    client.drop(half_built)


def test_a_collection_of_that_name_with_another_owner_is_not_replaced(
    settings: Settings, client: Milvus
) -> None:
    name = f"{settings.names.collection_prefix}taken"
    client.create(name, 4, "another cluster|shop.")
    for owner in ("", owner_of(settings)):
        with pytest.raises(ForeignCollectionError, match="another cluster"):
            client.create(name, 4, owner)
    assert client.owner(name) == "another cluster|shop."
    client.create(name, 8, "another cluster|shop.")  # its owner may replace it
    client.drop(name)


def test_what_another_deployment_writes_into_the_store_is_left_alone(tmp_path: Path) -> None:
    store, files = ReleaseStore(str(tmp_path)), StoreFiles(str(tmp_path))
    files.make_folder(VECTORS_FOLDER)
    for owner in ("ours0000", "theirs00"):
        with pytest.raises(KeyboardInterrupt), files.replacing(VECTORS_FOLDER, "release.npy", owner):
            raise KeyboardInterrupt
    store.remove_partial_vectors("ours0000")
    assert [".theirs00-" in name for name in files.names(VECTORS_FOLDER)] == [True]


def test_a_drop_reads_the_owner_first(lite_settings: Settings) -> None:
    owner = owner_of(lite_settings)
    with closing(Milvus(lite_settings.milvus)) as client:
        ownership = Ownership(lite_settings, client)
        dropped = {}
        for number, found in enumerate((owner, "", f"another cluster|{lite_settings.prefix}")):
            name = f"{lite_settings.names.collection_prefix}{number}"
            client.create(name, 4, found)
            dropped[found] = ownership.drop(name), client.owner(name)
            client.drop(name)
        assert ownership.drop(f"{lite_settings.names.collection_prefix}nothing")
    assert dropped.pop(owner) == (True, None)
    assert dropped == {other: (False, other) for other in dropped}

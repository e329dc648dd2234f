"""The release builder: from the store to a checked collection, with Milvus in memory."""

import shutil
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import SettingsError
from schemas.release import ActiveRecord, ReleaseCommand, ReleaseState
from schemas.releases import ReleasesView
from schemas.settings import Settings, load_settings
from tests.memory_index import MemoryIndex, MemoryStore
from tests.testbed.releases import write_untrained_release
from tests.unit.jobs import OWNER, DirectJob
from worker.errors import AbandonedError, StoreAwayError
from worker.indexer.build import ReleaseBuilder, ScratchFolders
from worker.indexer.checks import CheckError
from worker.indexer.ownership import Ownership
from worker.release.catalogue import Catalogue
from worker.release.store import ReleaseStore
from worker.retrieval.exact import StoredIndex
from worker.retrieval.index import EF_MIN, Hits, ItemIds, Vectors

pytestmark = pytest.mark.paddle

INDEX = ReleaseCommand(action="index", command_id="1")


@pytest.fixture
def settings(two_releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("worker.indexer.ownership.owner_of", lambda _: OWNER)
    store = shutil.copytree(two_releases, tmp_path / "store")
    return load_settings(store=str(store), indexer={"batch_movies": 100, "probes": 16})


@pytest.fixture
def milvus(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    memory = MemoryStore()
    monkeypatch.setattr("worker.indexer.build.open_store", lambda _: memory)
    return memory


@pytest.fixture
def release(settings: Settings) -> str:
    return ReleaseStore(settings.store).names()[0]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def builder_of(settings: Settings, milvus: MemoryStore) -> ReleaseBuilder:
    return ReleaseBuilder(settings, milvus, Ownership(settings, milvus), ScratchFolders("test"))


def test_a_release_becomes_a_checked_collection_and_kept_vectors(
    settings: Settings, milvus: MemoryStore, release: str
) -> None:
    job = DirectJob()
    ready = builder_of(settings, milvus).build(INDEX, release, job)

    record = job.view.releases[release]
    assert ready.record == record
    assert (record.state, record.attempt, record.tries, record.progress) == (ReleaseState.READY, 1, 1, 1.0)
    assert record.collection == settings.names.collection(release, 1)
    assert milvus.contents[record.collection].metric
    assert milvus.count(record.collection) == record.rows
    kept = ReleaseStore(settings.store).read_vectors(release, record.vectors_sha256 or "")
    assert np.array_equal(kept, np.stack(milvus.contents[record.collection].vectors))
    assert "agree with exact search" in ready.summary


def test_a_collection_that_milvus_failed_to_fill_is_replaced_by_a_new_one(
    settings: Settings, milvus: MemoryStore, release: str
) -> None:
    milvus.failures = 2
    record = builder_of(settings, milvus).build(INDEX, release, DirectJob()).record
    assert record.collection == settings.names.collection(release, 3)
    assert list(milvus.contents) == [record.collection]


def test_milvus_failing_in_every_attempt_fails_the_check(
    settings: Settings, milvus: MemoryStore, release: str
) -> None:
    milvus.failures = 5
    with pytest.raises(CheckError, match="5 attempts at building it; the last: no room"):
        builder_of(settings, milvus).build(INDEX, release, DirectJob())
    assert milvus.contents == {}


def test_a_collection_that_fails_the_check_is_dropped(
    settings: Settings, milvus: MemoryStore, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "count", lambda _: 3)
    job = DirectJob()
    with pytest.raises(CheckError, match="the collection has 3 rows"):
        builder_of(settings, milvus).build(INDEX, release, job)
    assert milvus.contents == {}
    assert job.view.releases[release].collection is None


def test_a_cancelled_build_ends_at_the_next_batch(
    settings: Settings, milvus: MemoryStore, release: str
) -> None:
    job = DirectJob()
    insert = milvus.insert

    def cancel(*arguments: Any) -> None:
        insert(*arguments)
        job.cancel(0)

    milvus.insert = cancel  # type: ignore[method-assign,assignment]
    with pytest.raises(AbandonedError):
        builder_of(settings, milvus).build(INDEX, release, job)
    assert [len(content.ids) for content in milvus.contents.values()] == [100]


def test_a_release_that_killed_five_indexers_is_not_built_again(
    settings: Settings, milvus: MemoryStore, release: str
) -> None:
    # Given five indexers that died while they built for one command
    job = DirectJob()
    for _ in range(5):
        builder_of(settings, milvus)._count_start(INDEX, release, job)
    # When a sixth starts, then it gives up
    with pytest.raises(CheckError, match="5 indexers have begun"):
        builder_of(settings, milvus).build(INDEX, release, job)
    assert milvus.contents == {}


def test_a_store_that_is_away_for_a_moment_is_asked_again(
    settings: Settings, milvus: MemoryStore, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify, failures = ReleaseStore.verify, [StoreAwayError("no route"), StoreAwayError("no route")]

    def away(store: ReleaseStore, name: str) -> None:
        if failures:
            raise failures.pop()
        verify(store, name)

    monkeypatch.setattr(ReleaseStore, "verify", away)
    assert builder_of(settings, milvus).build(INDEX, release, DirectJob()).record.rows


def test_a_store_that_stays_away_is_the_reason_for_a_refusal(
    settings: Settings, milvus: MemoryStore, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreAwayError("no route")

    monkeypatch.setattr(ReleaseStore, "verify", away)
    monkeypatch.setattr("worker.indexer.job._STORE_SECONDS", 0.1)
    job = DirectJob()
    with pytest.raises(StoreAwayError, match="no route"):
        builder_of(settings, milvus).build(INDEX, release, job)
    assert "store" not in job._health.problems


def evaluate(settings: Settings, release: str, ndcg: float) -> None:
    result = {"metric": "ndcg@10", "split": "users", "data": "d", "value": ndcg}
    ReleaseStore(settings.store).write_evaluation(release, {"release": release, "results": [result]}, "")


def test_a_worse_evaluation_fails_the_check_unless_the_command_is_forced_or_a_shadow(
    settings: Settings, milvus: MemoryStore
) -> None:
    # Given an active release that is better than another one
    active, worse = ReleaseStore(settings.store).names()
    evaluate(settings, active, 0.4)
    evaluate(settings, worse, 0.3)
    record = ActiveRecord(release=active, collection="c", epoch=1)
    builder, job = builder_of(settings, milvus), DirectJob(ReleasesView(active=record))
    # When they are compared, then the worse one fails
    with pytest.raises(CheckError, match=r"ndcg@10 on users is 0\.3000"):
        builder.compare(INDEX, worse, job)
    # Except where the command is forced, a shadow's results reach no user, or it is active itself
    forced = INDEX.model_copy(update={"force": True})
    assert "forced, although ndcg@10" in builder.compare(forced, worse, job)
    assert "not compared for a shadow" in builder.compare(
        INDEX.model_copy(update={"action": "shadow"}), worse, job
    )
    assert "no other release" in builder.compare(INDEX, active, job)
    assert "no other release" in builder.compare(INDEX, worse, DirectJob())


class Counting(MemoryStore):
    """Keeps no vectors; its searches read the file of the build under way."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def insert(self, collection: str, items: Catalogue, _: Vectors) -> None:
        self.counts[collection] = self.count(collection) + len(items)

    def count(self, collection: str) -> int:
        return self.counts.get(collection, 0)

    def index(self, collection: str, items: ItemIds, ef: int = EF_MIN) -> MemoryIndex:  # noqa: ARG002
        return FileIndex(self, collection, items)


class FileIndex(MemoryIndex):
    """Searches the file of the build under way."""

    def search(self, vectors: Vectors, k: int, **_: Any) -> Hits:
        (file,) = Path(tempfile.gettempdir()).glob("marquee-*/1.npy")
        return StoredIndex(file).search(vectors, k)


def test_a_build_holds_one_batch_of_the_catalogue_in_memory(
    settings: Settings, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.retrieval.exact._BLOCK_ROWS", 1_024)
    batches = settings.indexer.model_copy(update={"batch_movies": 1_024})
    held = {}
    for movies in (20_000, 60_000):
        store = write_untrained_release(temporary / str(movies), movies, 8)
        large = settings.model_copy(update={"store": store, "indexer": batches})
        held[movies] = peak_of_build(large, monkeypatch)

    # A movie's title and genres alone would take 200 bytes, its vector 32.
    assert held[60_000] - held[20_000] < 40_000 * 30, held


def peak_of_build(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that a build holds at most, beside the release's vocabularies."""
    milvus, store = Counting(), ReleaseStore(settings.store)
    loaded = store.load(store.names()[0], device="cpu")
    with monkeypatch.context() as patches:
        patches.setattr("worker.indexer.build.open_store", lambda _: milvus)
        patches.setattr(ReleaseStore, "load", lambda *_, **__: loaded)
        tracemalloc.start()
        try:
            builder_of(settings, milvus).build(INDEX, store.names()[0], DirectJob())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_folders_of_a_predecessor_are_removed_and_others_stay(temporary: Path) -> None:
    left = Path(tempfile.mkdtemp(prefix=ScratchFolders("mine")._prefix))
    others = Path(tempfile.mkdtemp(prefix=ScratchFolders("another")._prefix))
    ScratchFolders("mine").clear()
    assert list(temporary.iterdir()) == [others]
    assert not left.exists()


def test_a_temporary_folder_that_cannot_be_written_to_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/1")
    with pytest.raises(SettingsError, match=r"/proc/1.*set TMPDIR"):
        ScratchFolders("mine").clear()

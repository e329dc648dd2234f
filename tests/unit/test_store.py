"""The store returns releases unchanged, or fails with one sentence. Run on Paddle 2.6 and 3.3."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from schemas.errors import SettingsError
from schemas.manifest import MANIFEST_FILE
from tests.testbed.indexing import keep_vectors
from worker.errors import ReleaseError, StoreAwayError, UnreadableReleaseError
from worker.release.files import StoreFiles, parse_manifest
from worker.release.store import ReleaseStore

pytestmark = pytest.mark.paddle


@pytest.fixture
def release(fusion_store: str) -> str:
    return ReleaseStore(fusion_store).names()[0]


@pytest.fixture
def copy(fusion_store: str, release: str, tmp_path: Path) -> Path:
    """A store of the test's own, to be broken; gives the release's folder."""
    shutil.copytree(Path(fusion_store) / release, tmp_path / "store" / release)
    return tmp_path / "store" / release


def store_of(folder: Path) -> ReleaseStore:
    return ReleaseStore(str(folder.parent))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_release_is_named_by_time_and_content(release: str, fusion_store: str) -> None:
    manifest = ReleaseStore(fusion_store).manifest(release)

    assert manifest.release == release
    assert release.startswith(f"{manifest.created_at:%Y%m%dT%H%M%S}-")


def test_a_release_is_loaded_unchanged(release: str, fusion_store: str) -> None:
    loaded = ReleaseStore(fusion_store).load(release, device="cpu")

    vectors = loaded.embed_movies(0, len(loaded.catalogue))
    assert vectors.dtype == np.float32
    assert vectors.shape == (loaded.manifest.movies, loaded.manifest.dimension) == (250, 200)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert loaded.catalogue.position(int(loaded.catalogue.movie_ids[17])) == 17
    assert loaded.catalogue.position(10**9) is None


def test_a_batch_has_the_vectors_of_its_parts(release: str, fusion_store: str) -> None:
    loaded = ReleaseStore(fusion_store).load(release)

    whole = loaded.embed_movies(0, 40)
    parts = [loaded.embed_movies(start, start + 8) for start in range(0, 40, 8)]

    assert np.allclose(whole, np.concatenate(parts), atol=1e-6)
    assert loaded.embed_profiles([]).shape == (0, 200)


def test_lists_complete_releases_oldest_first(copy: Path) -> None:
    older = copy.parent / "20010101T000000-abcdef"
    shutil.copytree(copy, older)
    half_written = copy.parent / "20020101T000000-abcdef"
    half_written.mkdir()
    (half_written / "catalogue.parquet").write_bytes(b"")
    (copy.parent / "vectors").mkdir()

    assert store_of(copy).names() == [older.name, copy.name]


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ReleaseError, match="cannot be written to"):
        ReleaseStore(str(tmp_path / "file" / "store")).create()


def test_a_store_of_an_unknown_kind_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="gopher"):
        ReleaseStore("gopher://somewhere/store")


def test_a_store_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert ReleaseStore(str(tmp_path / "none")).names() == []


@pytest.mark.parametrize("name", ["20200101T000000-abcdef", "nope", "../../etc"])
def test_an_unknown_release_is_named(copy: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match=name):
        store_of(copy).load(name)


def test_one_flipped_byte_anywhere_is_found(copy: Path) -> None:
    store = store_of(copy)
    files = sorted(path.name for path in copy.iterdir())
    assert len(files) == 8
    for file in files:
        path = copy / file
        pristine = path.read_bytes()
        for place in (0, len(pristine) // 2, len(pristine) - 1):
            flip(path, place)
            with pytest.raises(ReleaseError, match=file):
                store.load(copy.name)
            path.write_bytes(pristine)
    store.load(copy.name)


def test_every_byte_of_the_manifest_counts(copy: Path) -> None:
    pristine = (copy / MANIFEST_FILE).read_bytes()
    for place in range(len(pristine)):
        changed = bytearray(pristine)
        changed[place] ^= 1
        with pytest.raises(ReleaseError):
            parse_manifest(copy.name, bytes(changed))
    parse_manifest(copy.name, pristine)


def test_a_missing_and_a_cut_off_file_are_named(copy: Path) -> None:
    parameters = copy / "user_tower.pdiparams"
    parameters.write_bytes(parameters.read_bytes()[:-10])
    with pytest.raises(ReleaseError, match=r"user_tower\.pdiparams .* bytes instead of"):
        store_of(copy).load(copy.name)

    parameters.unlink()
    with pytest.raises(ReleaseError, match=r"lacks user_tower\.pdiparams"):
        store_of(copy).load(copy.name)


def test_a_newer_manifest_is_unreadable(copy: Path) -> None:
    path = copy / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))

    with pytest.raises(UnreadableReleaseError, match="format 2"):
        store_of(copy).manifest(copy.name)


def test_a_program_of_another_paddle_is_not_even_tried(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a Paddle that reads neither format: 2.6 would end the process over a program of 3.x.
    monkeypatch.setattr("worker.release.tower.READABLE_FORMATS", frozenset())

    with pytest.raises(UnreadableReleaseError, match=f"marquee export {copy.name}"):
        store_of(copy).load(copy.name)


def test_a_release_comes_from_a_remote_store(
    fusion_store: str, release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"memory://{uuid.uuid4().hex}"
    remote = fsspec.filesystem("memory")
    remote.put(f"{fusion_store}/{release}/", f"{url}/{release}/", recursive=True)
    store = ReleaseStore(url)

    first = store.load(release).embed_movies(0, 5)
    assert store.names() == [release]

    # Given a copy in the cache that was damaged, it is fetched again.
    cached = next(tmp_path.rglob("user_tower.pdiparams"))
    flip(cached, 100)
    assert np.array_equal(store.load(release).embed_movies(0, 5), first)

    # Given a damaged original and no copy in the cache, loading fails.
    remote.pipe_file(f"{url}/{release}/user_tower.pdiparams", b"short")
    shutil.rmtree(tmp_path / "marquee")
    with pytest.raises(ReleaseError, match=r"user_tower\.pdiparams"):
        store.load(release)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_the_store_itself_is_verified_and_not_a_cache(
    kind: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = str(copy.parent) if kind == "local" else f"memory://{uuid.uuid4().hex}"
    system, root = fsspec.core.url_to_fs(url)
    if kind == "memory":
        system.put(f"{copy}/", f"{url}/{copy.name}/", recursive=True)
    store = ReleaseStore(url)
    store.load(copy.name)
    store.verify(copy.name)
    assert store.missing(copy.name) == []

    damaged, gone = (f"{root}/{copy.name}/{name}" for name in ("user_tower.pdiparams", "catalogue.parquet"))
    content = bytearray(system.cat_file(damaged))
    content[100] ^= 1
    system.pipe_file(damaged, bytes(content))
    with pytest.raises(ReleaseError, match=r"user_tower\.pdiparams .* is corrupt"):
        store.verify(copy.name)

    content[100] ^= 1
    system.pipe_file(damaged, bytes(content))
    system.rm(gone)
    assert store.missing(copy.name) == ["catalogue.parquet"]
    with pytest.raises(ReleaseError, match=r"lacks catalogue\.parquet"):
        store.verify(copy.name)


class EndpointConnectionError(Exception):
    """An error of a library of an object store, which is no OSError."""


@pytest.mark.parametrize(
    "use",
    [
        ReleaseStore.names,
        ReleaseStore.create,
        lambda store: store.verify("20200101T000000-abcdef"),
        lambda store: store.missing("20200101T000000-abcdef"),
        lambda store: store.manifest("20200101T000000-abcdef"),
        lambda store: store.read_vectors("20200101T000000-abcdef", "0" * 64),
        lambda store: store.evaluation("20200101T000000-abcdef"),
        lambda store: store.write_evaluation("20200101T000000-abcdef", {}, ""),
    ],
)
def test_a_remote_store_that_is_away_is_named(
    use: Callable[[ReleaseStore], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise EndpointConnectionError("no route to the endpoint")

    store = ReleaseStore(f"memory://{uuid.uuid4().hex}")
    for call in ("ls", "cat_file", "open", "makedirs"):
        monkeypatch.setattr(MemoryFileSystem, call, away)

    with pytest.raises(StoreAwayError, match=r"memory://.* cannot be .*: no route to the endpoint"):
        use(store)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_release_is_written_to_any_store(
    kind: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = ReleaseStore(str(tmp_path / "other") if kind == "local" else f"memory://{uuid.uuid4().hex}")
    manifest = store_of(copy).manifest(copy.name)
    (copy / MANIFEST_FILE).unlink()
    store.create()

    written = store.write(manifest, copy)

    assert written.release == copy.name  # the same content has the same name
    assert store.names() == [copy.name]
    assert store.manifest(copy.name) == written == manifest
    assert store.load(copy.name).manifest == manifest


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_incomplete_files_of_a_writer_that_died_are_removed(kind: str, tmp_path: Path) -> None:
    url = str(tmp_path) if kind == "local" else f"memory://{uuid.uuid4().hex}"
    store, files = ReleaseStore(url), StoreFiles(url)
    store.remove_partial_vectors()  # there is nothing yet
    sha256 = keep_vectors(store, "20200101T000000-abcdef", np.zeros((2, 2), np.float32))
    with pytest.raises(KeyboardInterrupt), files.replacing("vectors", "20210101T000000-abcdef.npy"):
        raise KeyboardInterrupt
    assert len(files.names("vectors")) == 2

    store.remove_partial_vectors()

    assert files.names("vectors") == ["20200101T000000-abcdef.npy"]
    store.read_vectors("20200101T000000-abcdef", sha256)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_vectors_are_kept_and_checked(kind: str, tmp_path: Path) -> None:
    url = str(tmp_path) if kind == "local" else f"memory://{uuid.uuid4().hex}"
    store = ReleaseStore(url)
    vectors = np.random.default_rng(0).random((7, 3), np.float32)

    sha256 = keep_vectors(store, "20200101T000000-abcdef", vectors)

    assert np.array_equal(store.read_vectors("20200101T000000-abcdef", sha256), vectors)
    with pytest.raises(ReleaseError, match="index release"):
        store.read_vectors("20200101T000000-abcdef", "0" * 64)
    with pytest.raises(ReleaseError, match="is missing"):
        store.read_vectors("20210101T000000-abcdef", sha256)


def test_an_evaluation_is_read_back_or_missing(tmp_path: Path) -> None:
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "evaluations" / "a.json").write_text('{"ndcg@10": 0.1}')
    (tmp_path / "evaluations" / "b.json").write_text("[1")
    store = ReleaseStore(str(tmp_path))

    assert store.evaluation("a") == {"ndcg@10": 0.1}
    assert store.evaluation("c") is None
    with pytest.raises(ReleaseError, match=r"b\.json cannot be read"):
        store.evaluation("b")

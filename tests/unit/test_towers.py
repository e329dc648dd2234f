"""One tower in the hands of two at once, as after the shadow of a release and its activation."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.profile import ProfileEvent
from worker.errors import ForeignVectorsError
from worker.process import tune_interpreter
from worker.release.release import Release
from worker.release.store import ReleaseStore
from worker.release.tower import Sentinels

pytestmark = pytest.mark.paddle

CALLS = 60


@pytest.fixture(params=["fusion_store", "sequence_store"])
def release(request: pytest.FixtureRequest) -> Release:
    store = ReleaseStore(request.getfixturevalue(request.param))
    loaded = store.load(store.names()[0], device="cpu")
    tune_interpreter()
    return loaded


def people(release: Release, seed: int, count: int = 128) -> list[ProfileEvent]:
    rng = np.random.default_rng(seed)
    return [
        ProfileEvent(
            gender="F" if rng.random() < 0.5 else "M",
            age=int(rng.integers(1, 80)),
            occupation=int(rng.integers(21)),
            recent=rng.choice(release.movie_ids, 3, replace=False).tolist(),
        )
        for _ in range(count)
    ]


def at_once(release: Release, *, before: Callable[[], Any] = lambda: None) -> tuple[int, int]:
    """Embed a batch in each of two threads, again and again; count the foreign vectors, and those that were found."""
    batches = [people(release, seed) for seed in (1, 2)]
    expected = [release.embed_profiles(batch) for batch in batches]
    before()
    foreign, told = [], []

    def embed(batch: list[ProfileEvent], vectors: np.ndarray) -> None:
        for _ in range(CALLS):
            try:
                found = release.embed_profiles(batch)
            except Exception as error:  # noqa: BLE001  two threads in one predictor may end in anything
                told.append(error)
                continue
            if not np.allclose(found, vectors, atol=1e-4):
                foreign.append(found)

    threads = [threading.Thread(target=embed, args=pair) for pair in zip(batches, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(foreign), len(told)


def test_two_at_once_get_their_own_vectors(release: Release) -> None:
    assert at_once(release) == (0, 0)


def test_without_the_lock_the_sentinel_finds_foreign_vectors(release: Release) -> None:
    """Given a predictor that two may enter. It need not find all: two runs may mix in one buffer beside a sound sentinel."""

    def unlock() -> None:
        release.user_tower._lock = nullcontext()  # type: ignore[assignment]

    foreign, told = at_once(release, before=unlock)
    assert told > foreign


def test_vectors_of_another_batch_are_refused(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    tower, batch = release.user_tower, people(release, 1)
    stale = tower._run(release.features.profiles(people(release, 2, len(batch) + 1), tower.inputs))
    monkeypatch.setattr(tower, "_run", lambda _: stale)
    with pytest.raises(ForeignVectorsError):
        tower.embed(release.features.profiles(batch, tower.inputs))


@pytest.mark.parametrize("count", [1, 2, 255, 256, 1_024])
def test_a_sentinel_changes_no_vector(release: Release, count: int) -> None:
    batch = people(release, 3, count)
    watched = release.embed_profiles(batch)
    release.user_tower._sentinels = None
    assert np.allclose(watched, release.embed_profiles(batch), atol=1e-5)
    assert watched.shape == (count, release.user_tower.dimension)


def test_sentinels_are_unlike_each_other(release: Release) -> None:
    for tower in (release.user_tower, release.movie_tower):
        assert tower._sentinels is not None
        turns = [tower._sentinels.next() for _ in range(2)]
        assert turns[0] is not turns[1]


def test_a_tower_that_gives_everything_one_vector_has_no_sentinels(tmp_path: Path) -> None:
    rows = {"age": np.arange(4)}
    for vectors in (np.ones((4, 2), np.float32), np.full((4, 2), np.nan, np.float32)):
        assert Sentinels(rows, vectors).next() is None

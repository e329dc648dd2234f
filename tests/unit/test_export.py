"""One model, two Paddles: what 2.6 writes both read; what 3.x writes 2.6 refuses, and reads once exported."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.testbed.releases import train_release
from worker.errors import ReleaseError, UnreadableReleaseError
from worker.release.store import ReleaseStore

ROOT = Path(__file__).parents[2]
PADDLE26_PYTHON = os.environ.get("MARQUEE_PADDLE26_PYTHON", str(ROOT / ".venv-paddle26" / "bin" / "python"))

EMBED = """
import sys, numpy as np
from schemas.profile import ProfileEvent
from worker.release.store import ReleaseStore
store, name, output = sys.argv[1:]
release = ReleaseStore(store).load(name)
events = [ProfileEvent(user_id=user, gender="F", age=30, occupation=user % 21) for user in range(1, 50)] + [ProfileEvent()]
np.savez(output, users=release.embed_profiles(events), movies=release.embed_movies(0, len(release.catalogue)))
"""
EXPORT = """
import sys
from ops.training.export import export_release
from worker.release.store import ReleaseStore
print(export_release(ReleaseStore(sys.argv[1]), sys.argv[2]).release)
"""
TRAIN = """
import sys
from pathlib import Path
from tests.testbed.releases import train_release
print(train_release(Path(sys.argv[1]), sys.argv[2], seed=1, epochs=1))
"""

VECTORS_TOLERANCE = 1e-5


needs_paddle26 = pytest.mark.skipif(
    sys.version_info >= (3, 13) and not Path(PADDLE26_PYTHON).exists(),
    reason="Paddle 2.6 has no wheel for Python 3.13",
)


def in_paddle26(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert Path(PADDLE26_PYTHON).exists(), f"no Paddle 2.6 at {PADDLE26_PYTHON}: set MARQUEE_PADDLE26_PYTHON"
    return subprocess.run(
        [PADDLE26_PYTHON, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def printed_in_paddle26(script: str, *arguments: str) -> str:
    done = in_paddle26(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def embedded(store: str, name: str) -> dict[str, np.ndarray]:
    """Vectors as this Paddle gives them."""
    from schemas.profile import ProfileEvent

    release = ReleaseStore(store).load(name)
    events = [ProfileEvent(user_id=user, gender="F", age=30, occupation=user % 21) for user in range(1, 50)]
    return {
        "users": release.embed_profiles([*events, ProfileEvent()]),
        "movies": release.embed_movies(0, len(release.catalogue)),
    }


def embedded_in_paddle26(store: str, name: str, output: Path) -> dict[str, np.ndarray]:
    printed_in_paddle26(EMBED, store, name, str(output))
    with np.load(output) as arrays:
        return dict(arrays)


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    for name in ("users", "movies"):
        assert np.abs(first[name] - second[name]).max() <= VECTORS_TOLERANCE


@pytest.mark.paddle
def test_an_exported_release_gives_the_same_vectors(generated_data: Path, tmp_path: Path) -> None:
    from ops.training.export import export_release

    name = train_release(generated_data, str(tmp_path), seed=2, epochs=1)
    store = ReleaseStore(str(tmp_path))

    exported = export_release(store, name)

    assert store.names() == sorted([name, exported.release])
    assert exported.training["exported_from"] == name
    assert exported.data == store.manifest(name).data
    assert_same(embedded(str(tmp_path), name), embedded(str(tmp_path), exported.release))


@pytest.mark.paddle
@pytest.mark.parametrize(("model", "says"), [("diffusion", "'diffusion'"), ("sequence", "other heads")])
def test_a_model_of_another_marquee_is_not_guessed_at(
    model: str, says: str, generated_data: Path, tmp_path: Path
) -> None:
    from ops.training.export import export_release

    store = ReleaseStore(str(tmp_path))
    name = train_release(generated_data, str(tmp_path), seed=2, epochs=1)
    folder = tmp_path / name
    manifest = store.manifest(name)
    (folder / "manifest.json").unlink()
    other = store.write(manifest.model_copy(update={"model": model}), folder)

    with pytest.raises(UnreadableReleaseError, match=says):
        export_release(store, other.release)


@pytest.mark.paddle
def test_a_release_without_weights_cannot_be_exported(generated_data: Path, tmp_path: Path) -> None:
    from ops.training.export import export_release

    store = ReleaseStore(str(tmp_path))
    name = train_release(generated_data, str(tmp_path), seed=2, epochs=1)
    folder = tmp_path / name
    manifest = store.manifest(name)
    (folder / "manifest.json").unlink()
    (folder / "weights.pdparams").unlink()

    with pytest.raises(ReleaseError, match="has no weights"):
        export_release(store, store.write(manifest, folder).release)


def test_a_program_that_paddle_refuses_is_unreadable(generated_data: Path, tmp_path: Path) -> None:
    # Given a program that was broken before it was hashed; 2.6 would end the process over it
    store = ReleaseStore(str(tmp_path))
    name = train_release(generated_data, str(tmp_path), seed=2, epochs=1)
    manifest = store.manifest(name)
    (tmp_path / name / "manifest.json").unlink()
    (tmp_path / name / manifest.towers.user.program).write_text("{}")
    broken = store.write(manifest, tmp_path / name)

    with pytest.raises(UnreadableReleaseError, match="cannot load"):
        store.load(broken.release)


@needs_paddle26
def test_a_release_of_2_6_is_read_by_both(generated_data: Path, tmp_path: Path) -> None:
    name = printed_in_paddle26(TRAIN, str(generated_data), str(tmp_path / "store"))

    assert ReleaseStore(str(tmp_path / "store")).manifest(name).program_format == "pdmodel"
    assert_same(
        embedded(str(tmp_path / "store"), name),
        embedded_in_paddle26(str(tmp_path / "store"), name, tmp_path / "b.npz"),
    )


@needs_paddle26
def test_a_release_of_3_x_is_refused_by_2_6_and_read_once_exported(
    generated_data: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    name = train_release(generated_data, store, seed=1, epochs=1)

    refused = in_paddle26(EMBED, store, name, str(tmp_path / "refused.npz"))
    assert refused.returncode == 1  # an exception, not a segmentation fault
    assert f"UnreadableReleaseError: release {name} holds programs of Paddle 3" in refused.stderr

    exported = printed_in_paddle26(EXPORT, store, name)
    theirs = embedded_in_paddle26(store, exported, tmp_path / "c.npz")
    assert_same(embedded(store, name), theirs)
    assert_same(embedded(store, exported), theirs)

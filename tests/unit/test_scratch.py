"""Space on disk for a build."""

import tempfile
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from worker.indexer.scratch import Scratch


def test_what_a_predecessor_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = Path(tempfile.mkdtemp(prefix=Scratch("mine")._prefix))
    others = Path(tempfile.mkdtemp(prefix=Scratch("another")._prefix))
    Scratch("mine").clear()
    assert (left.exists(), others.exists()) == (False, True)


def test_a_temporary_folder_that_cannot_be_written_to_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/1")
    with pytest.raises(SettingsError, match=r"/proc/1.*set TMPDIR"):
        Scratch("mine").clear()

"""Ids that no two live processes share, and that a restart takes again."""

import socket
import tempfile
import uuid
from pathlib import Path

import pytest

from worker import process
from worker.process import claim_identity


@pytest.fixture
def scope() -> str:
    return f"test-{uuid.uuid4().hex}.worker"


def test_live_processes_have_ids_of_their_own(scope: str) -> None:
    with claim_identity(None, scope) as first, claim_identity(None, scope) as second:
        assert first.id.startswith(f"{socket.gethostname()}-0-")
        assert second.id.startswith(f"{socket.gethostname()}-1-")


def test_a_restart_takes_its_id_again(scope: str) -> None:
    with claim_identity(None, scope) as first:
        pass
    with claim_identity(None, scope) as again:
        assert again.id == first.id


def test_a_temporary_folder_has_no_part_in_it(
    scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim_identity(None, scope) as first:
        for folder in (str(tmp_path), "/proc/1"):
            monkeypatch.setattr(tempfile, "tempdir", folder)
            with claim_identity(None, scope) as other:
                assert other.id != first.id


def test_one_host_name_on_two_networks_or_machines_makes_two_ids(
    scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "worker")
    ids = []
    for name, value in (("_NETWORK", tmp_path), ("_BOOT", tmp_path / "boot")):
        (tmp_path / "boot").write_text(name)
        with claim_identity(None, scope) as here:
            ids.append(here.id)
        monkeypatch.setattr(process, name, value)
        with claim_identity(None, scope) as there:
            ids.append(there.id)
    assert len(set(ids)) == 3


def test_a_container_keeps_its_id_over_a_restart(
    scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "3f9c2a1b0d4e")
    with claim_identity(None, scope) as before:
        pass
    monkeypatch.setattr(process, "_NETWORK", tmp_path)
    with claim_identity(None, scope) as after:
        assert after.id == before.id


def test_where_nothing_can_be_locked_an_id_is_unique_all_the_same(
    scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> None:
        raise PermissionError("no sockets here")

    monkeypatch.setattr(process, "_try_lock", refused)
    assert claim_identity(None, scope).id != claim_identity(None, scope).id


def test_a_named_id_takes_no_slot(scope: str) -> None:
    assert claim_identity("mine", scope).id == claim_identity("mine", scope).id == "mine"

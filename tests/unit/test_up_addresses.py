"""Where `marquee up` puts things: at the settings' defaults, so that commands beside it need none."""

from pathlib import Path

import pytest

from ops.local import up
from schemas.settings import load_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; nothing is set."""
    for name in (
        "MARQUEE_KAFKA__BOOTSTRAP_SERVERS",
        "MARQUEE_MILVUS__URI",
        "MARQUEE_STORE",
        "MARQUEE_PREFIX",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_usual_ports_that_are_free_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "is_free", lambda _: True)
    made = up.Up(up.Plan(folder / ".marquee", workers=2), load_settings())

    defaults = load_settings()
    assert made.settings.kafka == defaults.kafka
    assert made.settings.milvus == defaults.milvus
    assert {role.child.name: role.http_port for role in made.roles}["worker-1"] == defaults.http.port
    assert len({role.http_port for role in made.roles}) == 4
    assert made.exports() == []


def test_other_addresses_are_exported_for_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "is_free", lambda _: False)
    made = up.Up(up.Plan(folder / ".marquee"), load_settings(prefix="mine.", store="else where"))

    assert made.exports() == [
        "export MARQUEE_PREFIX=mine.",
        f"export MARQUEE_KAFKA__BOOTSTRAP_SERVERS={made.settings.kafka.bootstrap_servers}",
        f"export MARQUEE_MILVUS__URI={made.settings.milvus.uri}",
        f"export MARQUEE_STORE='{folder}/else where'",
    ]
    assert made.settings.kafka.bootstrap_servers != load_settings().kafka.bootstrap_servers


def test_a_folder_keeps_its_ports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "is_free", lambda _: False)
    first = up.Up(up.Plan(folder / ".marquee"), load_settings())
    monkeypatch.setattr(up, "is_free", lambda _: True)
    second = up.Up(up.Plan(folder / ".marquee"), load_settings())

    assert second.settings == first.settings
    assert [role.http_port for role in second.roles] == [role.http_port for role in first.roles]

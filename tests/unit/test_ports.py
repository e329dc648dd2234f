"""Ports are free, kept, and out of the way of outgoing connections."""

import socket
from pathlib import Path

import pytest

from ops.local.ports import HIGHEST, LOWEST, free_port, is_free, is_open, kept_ports, require_free
from ops.local.process import LocalError


def test_a_port_that_somebody_listens_on_is_open_and_not_free() -> None:
    port = free_port()
    assert LOWEST <= port <= HIGHEST
    assert is_free(port)
    assert not is_open(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert is_open(port)


def test_ports_are_chosen_once(tmp_path: Path) -> None:
    # Given a folder that keeps two ports
    file = tmp_path / "folder" / "ports.json"
    first = kept_ports(file, ["a", "b"], {"a": 20_000})
    assert first["a"] == 20_000
    # When three are asked for later, with another wish for a kept one
    second = kept_ports(file, ["a", "b", "c"], {"a": 20_001})
    # Then the kept ones stay
    assert second["a"] == first["a"]
    assert second["b"] == first["b"]
    assert kept_ports(file, ["a", "b", "c"]) == second


def test_no_port_is_chosen_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given chance that gives the same port again, before anybody listens on it
    drawn = iter([LOWEST, LOWEST, HIGHEST])
    monkeypatch.setattr("random.randint", lambda *_: next(drawn))
    monkeypatch.setattr("ops.local.ports.is_free", lambda _: True)
    monkeypatch.setattr("ops.local.ports._chosen", set())
    # When ports are chosen for two servers
    ports = kept_ports(tmp_path / "ports.json", ["proxy", "etcd"])
    # Then each has its own
    assert ports == {"proxy": LOWEST, "etcd": HIGHEST}


@pytest.mark.parametrize("content", ["{", "[]", '{"a": "http"}'])
def test_an_unreadable_file_of_ports_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ports.json"
    file.write_text(content)
    with pytest.raises(LocalError, match=r"ports\.json does not contain the ports"):
        kept_ports(file, ["a"])


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(LocalError, match=f"Port {port} .* in use"):
        require_free({"broker": port}, tmp_path / "ports.json")

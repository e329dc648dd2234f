"""`marquee doctor` on this machine, without any server."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ops.deployment import machine
from ops.deployment.finding import Finding
from schemas.settings import HttpSettings, load_settings
from worker.monitoring.http import Health, serve


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a server that is none of ours."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_port_that_a_stranger_has_is_wrong(stranger: int) -> None:
    found = machine._port(HttpSettings(port=stranger))
    assert found.state == "wrong"
    assert "MARQUEE_HTTP__PORT" in str(found.mend)


def test_a_port_that_a_worker_has_is_no_wrong() -> None:
    with serve(HttpSettings(port=0), Health(), CollectorRegistry()) as ours:
        assert machine._port(HttpSettings(port=ours.port)).state == "note"


def test_an_unknown_variable_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARQUEE_TEST_KILLS", "MARQUEE_KAFKA__PARTITIONS", "MARQUEE_STORE", "MARQUEE_CONFIG"):
        monkeypatch.setenv(name, "1")
    assert machine._variables().state == "ok"

    monkeypatch.setenv("MARQUEE_KAFAK__PARTITIONS", "12")
    found = machine._variables()
    assert (found.state, found.detail) == ("wrong", "no setting: MARQUEE_KAFAK__PARTITIONS")


def nvidia(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi that names a card and its driver."""
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 550.54.15'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def device(wanted: str) -> Finding:
    return machine._device(load_settings(worker={"device": wanted}))


@pytest.mark.paddle
def test_a_card_that_paddle_cannot_use_is_named_with_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_obstacle", lambda: "this Paddle 3.3.1 is a build for the CPU")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [device(wanted).state for wanted in ("auto", "gpu")] == ["ok", "wrong"]
    assert "driver" in str(device("gpu").mend)

    nvidia(tmp_path, monkeypatch)
    assert [device(wanted).state for wanted in ("auto", "gpu")] == ["note", "wrong"]
    assert "NVIDIA H100, driver 550.54.15" in device("auto").detail
    assert "marquee[gpu]" in str(device("gpu").mend)


def test_every_other_check_finds_this_environment_well() -> None:
    found = {finding.part: finding.state for finding in machine.machine(load_settings(http={"port": 0}))}
    found.pop("gpu")
    assert set(found.values()) == {"ok"}
    assert {"variables", "python", "packages", "paddle", "java", "port"} == found.keys()

"""docker-compose.yml without an engine: valid by the specification, and each of our commands in it runs as a process."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from schemas.settings import Settings, load_settings
from tests.testbed.processes import Process, wait_for

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "ops/compose/gpu.yml"
SPECIFICATION = Path(__file__).parents[1] / "data/compose-spec.json"
OUR_IMAGE = "marquee:cpu"


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


SERVICES: dict[str, dict[str, Any]] = _load(COMPOSE)["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == OUR_IMAGE)


def _problems(document: dict[str, Any]) -> list[str]:
    validator = Draft202012Validator(json.loads(SPECIFICATION.read_text()))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("file", [COMPOSE, GPU], ids=lambda path: path.name)
def test_files_hold_to_the_compose_specification(file: Path) -> None:
    assert _problems(_load(file)) == []


def test_a_misspelt_option_would_be_found() -> None:
    document = _load(COMPOSE)
    document["services"]["worker"]["comand"] = ["worker"]

    assert any("comand" in problem for problem in _problems(document))


def test_what_is_mounted_is_there() -> None:
    mounted = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = [source for source, *_ in mounted if source.startswith(".")]
    volumes = {source for source, *_ in mounted if not source.startswith(".")}

    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert volumes == set(_load(COMPOSE)["volumes"])


def test_images_are_pinned_and_ports_are_this_machines_alone() -> None:
    images = {service["image"] for service in SERVICES.values()} - {OUR_IMAGE}
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert [image for image in images if ":" not in image or image.endswith(":latest")] == []
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_workers_can_be_many() -> None:
    # Given what only one container can have: a name, or a port of the host
    assert not {"container_name", "hostname", "ports"} & set(SERVICES["worker"])


def test_every_setting_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    # An unknown variable is not refused by the settings, so a misspelt one would silently do nothing.
    for name in OURS:
        for variable in SERVICES[name]["environment"]:
            owner: Any = load_settings()
            *groups, field = variable.removeprefix("MARQUEE_").lower().split("__")
            for group in groups:
                owner = getattr(owner, group)
            assert field in type(owner).model_fields, variable


@pytest.mark.parametrize("name", OURS)
def test_command_reaches_health_as_a_process(name: str, lite_settings: Settings, tmp_path: Path) -> None:
    """With the file's command and variables, where Kafka, Milvus and the store are this test's."""
    # Given
    service = SERVICES[name]
    given = {key: str(value) for key, value in service["environment"].items()}
    here = {"MARQUEE_STORE", "MARQUEE_KAFKA__BOOTSTRAP_SERVERS", "MARQUEE_MILVUS__URI"}
    assert here <= set(given)
    variables = {key: value for key, value in given.items() if key not in here}
    role, *arguments = service["command"]

    # When
    with Process(role, lite_settings, tmp_path, *arguments, sources=None, **variables) as process:
        wait_for(f"{name} live", lambda: process.get("/health/live")[0] == 200)

        # Then it waits for its first release, and ends when asked to
        assert process.child.poll() is None
        assert process.stop() == 0, process.output

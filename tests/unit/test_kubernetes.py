"""The cluster files: as the Kubernetes API takes them, locked down, and true to the settings and names of the code."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from schemas.names import DEFAULT_PARTITIONS, Names
from schemas.settings import load_settings

ROLES = ("worker", "indexer", "outcomes-worker")
ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "ops" / "kubernetes"
# The oldest whose policies the files use, and the newest that the package knows.
VERSIONS = ("1.31", "1.37")
KEDA = json.loads((ROOT / "tests" / "data" / "keda-scaledobject.json").read_text())
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())

Resource = dict[str, Any]


def resources() -> list[Resource]:
    """Every resource that the kustomization names."""
    documents = [list(yaml.safe_load_all((FOLDER / name).read_text())) for name in KUSTOMIZATION["resources"]]
    return [resource for file in documents for resource in file]


def named(kind: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in resources() if one["kind"] == kind}


def pods(role: str) -> Resource:
    """What the pods of a role are made from."""
    made_by = named("StatefulSet") | named("Deployment")
    template: Resource = made_by[f"marquee-{role}"]["spec"]["template"]
    return template


def labels(resource: Resource) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def check(resource: Resource, version: str) -> None:
    """Against the API's own schemas, unknown fields refused; against KEDA's for its own kind."""
    if resource["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(resource, _strict(KEDA))
    else:
        kubernetes_validate.validate(resource, version, strict=True)


def _strict(schema: Any) -> Any:
    """The same, with unknown fields refused, as the API server prunes them in silence."""
    if isinstance(schema, dict):
        closed = {"additionalProperties": False} if "properties" in schema else {}
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        metadata = schema.get("type") == "object" and "properties" not in schema
        inner = {key: _strict(value) for key, value in schema.items()}
        return inner if open_ended or metadata else inner | closed
    return [_strict(one) for one in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", resources(), ids=labels)
def test_each_resource_is_what_the_api_takes(resource: Resource, version: str) -> None:
    check(resource, version)


@pytest.mark.parametrize("resource", resources(), ids=labels)
def test_a_field_that_does_not_exist_is_found(resource: Resource) -> None:
    broken = json.loads(json.dumps(resource))
    place = broken.get("spec", broken)
    place["replicaz"] = 2
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(broken, VERSIONS[-1])


def test_every_file_is_in_the_kustomization() -> None:
    files = {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])


@pytest.mark.parametrize("role", ROLES)
def test_containers_have_no_root_and_cannot_write_to_their_image(role: str) -> None:
    pod = pods(role)["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("role", ROLES)
def test_variables_are_settings_and_an_id_is_the_pods_name(
    role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    variables = dict(literal.split("=", 1) for literal in generated["literals"])
    (container,) = pods(role)["spec"]["containers"]
    own = container.get("env", [])
    assert len(own) == (role != "outcomes-worker")  # of which one works, under the deployment's own name
    for variable in own:
        assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        variables[variable["name"]] = f"marquee-{role}-0"
    for name, value in (variables | {"MARQUEE_SECRETS_DIR": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()  # refuses a variable that is no setting
    assert not own or getattr(settings, role).id == f"marquee-{role}-0"
    assert container["args"] == [role]
    assert container["envFrom"] == [{"configMapRef": {"name": generated["name"]}}]
    assert pods(role)["spec"]["terminationGracePeriodSeconds"] > settings.worker.stop_timeout_s


def test_autoscaling_looks_at_the_workers_lag_and_stops_at_the_partitions() -> None:
    spec = named("ScaledObject")["marquee-worker"]["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["consumerGroup"] == Names().worker_group
    assert trigger["metadata"]["topic"] == Names().profiles
    assert spec["maxReplicaCount"] == DEFAULT_PARTITIONS
    assert spec["scaleTargetRef"]["name"] in named("StatefulSet")


def test_budgets_and_services_select_the_pods() -> None:
    for role in ROLES:
        selected = pods(role)["metadata"]["labels"]
        assert named("PodDisruptionBudget")[f"marquee-{role}"]["spec"]["selector"]["matchLabels"] == selected
        assert named("Service")[f"marquee-{role}"]["spec"]["selector"] == selected

"""Our schemas in a real schema registry."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from schemas import registry
from schemas.errors import MarqueeError
from schemas.published import json_schemas
from schemas.settings import Settings, load_settings
from schemas.topics import MESSAGES
from tests.system.apicurio import apicurio


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with apicurio(tmp_path_factory.mktemp("apicurio")) as address:
        yield address


def settings(url: str, prefix: str) -> Settings:
    return load_settings(prefix=prefix, registry={"url": url})


def test_schemas_are_registered_once_and_found_again(url: str) -> None:
    ours = settings(url, "a.")
    with pytest.raises(MarqueeError, match=r"does not have this version's schema of a\.profiles-value"):
        registry.check(ours)

    registered = registry.register(ours)

    assert len(registered) == sum(message.model is not None for message in MESSAGES)
    assert registry.register(ours) == registered
    assert registry.check(ours) == registered
    with urllib.request.urlopen(f"{url}/subjects/a.profiles-value/versions/latest", timeout=30) as answer:
        stored = json.loads(json.load(answer)["schema"])
    assert stored["properties"] == json_schemas()["profile-event"]["properties"]


def test_what_the_registry_holds_for_incompatible_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the rule BACKWARD on the subject, and a version of ours in which a field is required."""
    ours = settings(url, "b.")
    registry.register(ours)
    body = json.dumps({"compatibility": "BACKWARD"}).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    rule = urllib.request.Request(f"{url}/config/b.profiles-value", body, headers, method="PUT")
    with urllib.request.urlopen(rule, timeout=30):
        pass
    stricter: dict[str, dict[str, Any]] = json_schemas()
    stricter["profile-event"]["required"] = ["age"]
    monkeypatch.setattr(registry, "json_schemas", lambda: stricter)

    with pytest.raises(MarqueeError, match=r"b\.profiles-value that this version's is not compatible with"):
        registry.register(ours)

"""The contract for machines: true to the code, valid by the books, and never broken unnoticed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ops.reference.schemas import broken_since_release
from schemas.compatibility import incompatibilities
from schemas.profile import ProfileEvent
from schemas.published import asyncapi, json_schemas
from schemas.topics import Compatibility
from tests.integration.stub_worker import a_recommendation

# See tests/data/README.md.
ASYNCAPI = Path(__file__).parent.parent / "data" / "asyncapi-3.0.0.json"


def test_what_was_released_is_not_broken() -> None:
    assert broken_since_release() == [], "see ops/reference/schemas.py"


def test_only_the_limits_that_were_set_on_purpose_are_not_in_the_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Genres in a filter had no limit; a limit lower than the one that was decided is a break as before."""
    monkeypatch.setattr("ops.reference.schemas._LIMITED", {})
    assert broken_since_release() != []
    lower = {("Filter", "genres"): {"maxItems": 65}}
    monkeypatch.setattr("ops.reference.schemas._LIMITED", {"profile-event": lower})
    assert broken_since_release() != []


def record(required: list[str] | None = None, **fields: object) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": required or []}


STRING, INTEGER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
AGE = {"type": "integer", "minimum": 0, "maximum": 120}
OLD = record(["a"], a=STRING, age=AGE, kind={"type": "string", "enum": ["x", "y"]})


@pytest.mark.parametrize(
    ("new", "backward", "forward"),
    [
        (OLD, True, True),
        (OLD | {"properties": OLD["properties"] | {"new": INTEGER}}, True, True),
        (record(["a", "age"], **OLD["properties"]), False, True),
        (record([], **OLD["properties"]), True, False),
        (record(["a"], a=STRING, age=AGE), False, False),
        (OLD | {"properties": OLD["properties"] | {"a": INTEGER}}, False, False),
        (OLD | {"properties": OLD["properties"] | {"a": {"anyOf": [STRING, NULL]}}}, True, False),
        (OLD | {"properties": OLD["properties"] | {"age": AGE | {"maximum": 130}}}, True, False),
        (OLD | {"properties": OLD["properties"] | {"age": AGE | {"minimum": 1}}}, False, True),
        (OLD | {"properties": OLD["properties"] | {"kind": {"type": "string", "enum": ["x"]}}}, False, True),
        (OLD | {"properties": OLD["properties"] | {"kind": STRING}}, True, False),
    ],
    ids=[
        "the same", "a new optional field", "a field becomes required", "a required field may be missing", "a field is gone",
        "another type", "null as well", "a wider bound", "a narrower bound", "a choice less", "any choice",
    ],
)  # fmt: skip
def test_what_breaks_whom(new: dict[str, Any], backward: bool, forward: bool) -> None:
    allowed: dict[Compatibility, bool] = {
        "BACKWARD": backward,
        "FORWARD": forward,
        "FULL": backward and forward,
    }
    assert {rule: incompatibilities(OLD, new, rule) == [] for rule in allowed} == allowed


@pytest.mark.parametrize("wrap", ["array", "pair", "names", "reference"])
def test_changes_are_found_inside(wrap: str) -> None:
    def around(inner: dict[str, Any]) -> dict[str, Any]:
        match wrap:
            case "array":
                return record(a={"type": "array", "items": inner})
            case "pair":
                return record(a={"type": "array", "prefixItems": [STRING, inner]})
            case "names":
                return record(a={"type": "object", "additionalProperties": inner})
        return record(a={"$ref": "#/$defs/inner"}) | {"$defs": {"inner": inner}}

    assert incompatibilities(around(record(b=AGE)), around(record(b=STRING)), "BACKWARD")
    assert incompatibilities(around(record(b=AGE)), around(record(c=AGE)), "FORWARD")
    assert incompatibilities(around(record(b=AGE)), around(record(b=AGE)), "FULL") == []


@pytest.mark.parametrize("name", json_schemas())
def test_each_is_a_schema_and_taking_any_field_out_of_it_is_found(name: str) -> None:
    schema = json_schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for field in properties:
        without = schema | {"properties": {key: properties[key] for key in properties if key != field}}
        assert incompatibilities(schema, without, "BACKWARD") == [f"{field} is gone"]


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_the_asyncapi_document_is_valid_and_whole() -> None:
    document = json.loads(json.dumps(asyncapi("0.1.0")))
    jsonschema.Draft7Validator(json.loads(ASYNCAPI.read_text())).validate(document)
    for reference in references(document):
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_a_recommendation_is_as_its_schema_says() -> None:
    answer = a_recommendation("marquee.profiles", "a", 3, 1042)
    jsonschema.validate(json.loads(answer.model_dump_json()), json_schemas()["recommendation"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, json_schemas()["recommendation"])


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 300), st.floats(allow_nan=False).filter(lambda x: not x.is_integer()),
    st.text(max_size=3), st.sampled_from(["F", "M"]), st.lists(st.integers(-1, 3), max_size=3),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*(set(ProfileEvent.model_fields) - {"filter"}), "x"]), ANYTHING))
def test_the_schema_of_profiles_allows_what_the_worker_reads(event: dict[str, object]) -> None:
    """But for the order of two years, and 1.0 for 1, which JSON Schema cannot tell apart."""
    text = json.dumps(event)
    try:
        ProfileEvent.model_validate_json(text)
        read = True
    except ValidationError:
        read = False
    allowed = jsonschema.Draft202012Validator(json_schemas()["profile-event"]).is_valid(json.loads(text))
    assert allowed == read

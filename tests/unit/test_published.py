"""The contract for machines: true to the code, valid by the books, and never broken unnoticed."""

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.profile import ProfileEvent
from schemas.published import asyncapi, json_schemas
from tests.integration.stub_worker import a_recommendation

# See tests/data/README.md.
ASYNCAPI = Path(__file__).parent.parent / "data" / "asyncapi-3.0.0.json"


@pytest.mark.parametrize("name", json_schemas())
def test_each_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schemas()[name])


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

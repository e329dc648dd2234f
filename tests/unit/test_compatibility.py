"""The contract of today beside the released one: what one version writes, the other reads, and it means the same."""

import json
from copy import deepcopy
from datetime import datetime
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel, Field, ValidationError, create_model

from ops.reference.schemas import RELEASED
from schemas.manifest import Manifest
from schemas.profile import MAX_GENRE_LENGTH, MAX_GENRES, ProfileEvent
from schemas.published import json_schemas
from schemas.topics import MESSAGES, Compatibility
from tests.unit.json_values import Schema, fields, values

# Limits that were set on purpose on fields that had none: an event beyond them becomes a dead letter. A collection holds no movie
# with more genres or longer ones, so no honest producer meets them. They go with the release that has them.
LIMITS: dict[str, dict[tuple[str, str], Schema]] = {
    "profile-event": {
        ("Filter", field): {
            "maxItems": MAX_GENRES,
            "items": {"type": "string", "maxLength": MAX_GENRE_LENGTH},
        }
        for field in ("genres", "not_genres")
    }
}
# A release outlives the Marquee that wrote it: each version reads the manifests of all before.
RULES: dict[str, Compatibility] = {
    **{message.name: message.compatibility for message in MESSAGES},
    "manifest": "BACKWARD",
}
MODELS: dict[str, type[BaseModel]] = {"manifest": Manifest} | {
    message.name: message.model for message in MESSAGES if message.model
}


def released() -> dict[str, Schema]:
    schemas: dict[str, Schema] = json.loads(RELEASED.read_text(encoding="utf-8"))
    for name, limits in LIMITS.items():
        for (definition, field), limit in limits.items():
            schemas[name]["$defs"][definition]["properties"][field]["anyOf"][0] |= limit
    return schemas


def check(old: Schema, new: type[BaseModel], rule: Compatibility, examples: int = 100) -> None:
    """Fail where versions that differ so do not understand each other.

    BACKWARD: `new` reads all that `old` allowed. FORWARD: readers of `old` understand all that `new` allows. FULL: both.
    A field that was there stays.
    """
    today: Schema = new.model_json_schema()
    gone = fields(old) - fields(today)
    assert not gone, f"fields are gone: {sorted(gone)}"

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(values(old))
    def new_reads_old(value: dict[str, Any]) -> None:
        in_order(value)
        read = new.model_validate_json(json.dumps(value)).model_dump(mode="json")
        assert same(value, read), (value, read)

    reader = jsonschema.Draft202012Validator(old)

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(values(today))
    def old_reads_new(value: dict[str, Any]) -> None:
        reader.validate(value)

    if rule in ("BACKWARD", "FULL"):
        new_reads_old()
    if rule in ("FORWARD", "FULL"):
        old_reads_new()


def in_order(event: dict[str, Any]) -> None:
    """The years of a filter are in order, which a JSON Schema cannot express."""
    if (event.get("filter") or {}).get("years"):
        event["filter"]["years"].sort()


def same(written: Any, read: Any) -> bool:
    """Whether a value was read as it was written: fields may be added, and a moment may have another time zone."""
    if isinstance(written, dict):
        return all(name in read and same(value, read[name]) for name, value in written.items())
    if isinstance(written, list):
        return len(written) == len(read) and all(map(same, written, read))
    if isinstance(written, str) and written != read:
        return datetime.fromisoformat(written) == datetime.fromisoformat(read)
    return bool(written == read)


@pytest.mark.parametrize("name", released())
def test_versions_understand_each_other(name: str) -> None:
    assert name in MODELS, "this kind of record is gone"
    check(released()[name], MODELS[name], RULES[name])


def test_a_limit_that_no_release_has_is_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a limit below the one that was set on purpose
    lower = {("Filter", "genres"): {"maxItems": MAX_GENRES + 1, "items": {"type": "string"}}}
    monkeypatch.setitem(LIMITS, "profile-event", lower)

    with pytest.raises(ValidationError):
        check(released()["profile-event"], ProfileEvent, "BACKWARD")


@pytest.mark.parametrize("name", json_schemas())
def test_a_field_that_is_taken_away_is_found(name: str) -> None:
    before: Schema = deepcopy(json_schemas()[name])
    before["properties"]["once"] = {"type": "integer"}

    with pytest.raises(AssertionError, match="fields are gone: \\['once'\\]"):
        check(before, MODELS[name], "BACKWARD")


class Inner(BaseModel):
    b: int = Field(ge=0, le=120)


class Old(BaseModel):
    a: str
    age: int | None = Field(None, ge=0, le=120)
    kind: Literal["x", "y"] = "x"
    inner: list[Inner] = []
    pair: tuple[str, Inner] | None = None
    names: dict[str, Inner] = {}


class NarrowInner(BaseModel):
    b: int = Field(ge=0, le=119)


class WiderInner(BaseModel):
    b: int = Field(ge=0, le=121)


def changed(**fields: Any) -> type[BaseModel]:
    return create_model("Old", __base__=Old, **fields)


@pytest.mark.parametrize(
    ("new", "backward", "forward"),
    [
        (Old, True, True),
        (changed(new=(int | None, None)), True, True),
        (changed(age=(int, Field(ge=0, le=120))), False, True),
        (changed(a=(str, "")), True, False),
        (changed(a=(int, ...)), False, False),
        (changed(a=(str | None, ...)), True, False),
        (changed(age=(int | None, Field(None, ge=0, le=130))), True, False),
        (changed(age=(int | None, Field(None, ge=1, le=120))), False, True),
        (changed(kind=(Literal["x"], "x")), False, True),
        (changed(kind=(str, "x")), True, False),
        (changed(inner=(list[NarrowInner], [])), False, True),
        (changed(pair=(tuple[str, WiderInner] | None, None)), True, False),
        (changed(names=(dict[str, NarrowInner], {})), False, True),
    ],
    ids=[
        "the same", "a new optional field", "a field becomes required", "a required field may be missing", "another type",
        "null as well", "a wider bound", "a narrower bound", "a choice less", "any choice", "inside an array",
        "inside a pair", "under any name",
    ],
)  # fmt: skip
def test_a_change_breaks_one_direction_or_both(new: type[BaseModel], backward: bool, forward: bool) -> None:
    old: Schema = Old.model_json_schema()
    rules: dict[Compatibility, bool] = {
        "BACKWARD": backward,
        "FORWARD": forward,
        "FULL": backward and forward,
    }
    assert {rule: understood(old, new, rule) for rule in rules} == rules


def understood(old: Schema, new: type[BaseModel], rule: Compatibility) -> bool:
    try:
        # Of the bounds of an optional field one value in sixteen is drawn: with 30 examples a change was missed.
        check(old, new, rule, examples=400)
    except (AssertionError, ValidationError, jsonschema.ValidationError):
        return False
    return True


def test_a_value_that_is_read_as_another_is_found() -> None:
    class Rounded(Old):
        def model_dump(self, **_: Any) -> dict[str, Any]:
            return super().model_dump() | {"age": None}

    with pytest.raises(AssertionError):
        check(Old.model_json_schema(), Rounded, "BACKWARD")

"""Whether a changed schema still understands, and is understood by, the one before: the rules of docs/contract.md.

Covers what pydantic writes for our models. Unknown fields are ignored on both sides, so a new optional field is no change to
anybody; and a field is never reused for another meaning, so a new one is taken never to have been sent before.
"""

from collections.abc import Iterator
from typing import Any

from schemas.topics import Compatibility

Schema = dict[str, Any]

_AT_LEAST = {"minimum", "exclusiveMinimum", "minLength", "minItems"}
_AT_MOST = {"maximum", "exclusiveMaximum", "maxLength", "maxItems"}
_EQUAL = {"pattern", "format"}


def incompatibilities(old: Schema, new: Schema, compatibility: Compatibility) -> list[str]:
    """What of the change from `old` to `new` breaks the compatibility, a sentence each; empty where nothing does.

    BACKWARD: `new` reads all that `old` allowed. FORWARD: `old` reads all that `new` allows. FULL: both. In every case
    what was a field stays one.
    """
    problems = list(_removed(old, new, old, new, ""))
    if compatibility in ("BACKWARD", "FULL"):
        problems += [f"not read any more: {at}" for at in _refused(new, old, new, old, "")]
    if compatibility in ("FORWARD", "FULL"):
        problems += [f"not understood by readers of before: {at}" for at in _refused(old, new, old, new, "")]
    return list(dict.fromkeys(problems))


def _refused(wide: Schema, narrow: Schema, wide_root: Schema, narrow_root: Schema, at: str) -> Iterator[str]:
    """Where `wide` refuses something that `narrow` allows."""
    alternatives = _alternatives(wide, wide_root)
    for option in _alternatives(narrow, narrow_root):
        answers = [list(_refused_by_one(one, option, wide_root, narrow_root, at)) for one in alternatives]
        if all(answers):
            yield from min(answers, key=len)


def _refused_by_one(
    wide: Schema, narrow: Schema, wide_root: Schema, narrow_root: Schema, at: str
) -> Iterator[str]:
    where = at or "the record"
    kind, wanted = narrow.get("type"), wide.get("type")
    if wanted and kind != wanted and (kind, wanted) != ("integer", "number"):
        yield f"{where} as {kind}, where {wanted} was expected"
        return
    if "enum" in wide and not set(narrow.get("enum", ["anything"])) <= set(wide["enum"]):
        yield f"{where} with values beyond {wide['enum']}"
    for bound in (_AT_LEAST | _AT_MOST | _EQUAL) & wide.keys():
        if not _within(bound, narrow.get(bound), wide[bound]):
            yield f"{where} beyond {bound} {wide[bound]}"
    for name in wide.get("required", []):
        if name not in narrow.get("required", []):
            yield f"{where} without {name}"
    for name, inner in wide.get("properties", {}).items():
        if name in narrow.get("properties", {}):
            yield from _refused(
                inner, narrow["properties"][name], wide_root, narrow_root, f"{at}.{name}".lstrip(".")
            )
    for inner, other in _elements(wide, narrow):
        yield from _refused(inner, other, wide_root, narrow_root, f"{at}[]")


def _within(bound: str, narrow: Any, wide: Any) -> bool:
    if narrow is None:
        return False
    if bound in _AT_LEAST:
        return bool(narrow >= wide)
    return bool(narrow <= wide) if bound in _AT_MOST else narrow == wide


def _removed(old: Schema, new: Schema, old_root: Schema, new_root: Schema, at: str) -> Iterator[str]:
    """Fields of `old` that `new` has no more."""
    for before in _alternatives(old, old_root):
        kinds = [one for one in _alternatives(new, new_root) if one.get("type") == before.get("type")]
        for after in kinds:
            for name, inner in before.get("properties", {}).items():
                path = f"{at}.{name}".lstrip(".")
                if name not in after.get("properties", {}):
                    yield f"{path} is gone"
                else:
                    yield from _removed(inner, after["properties"][name], old_root, new_root, path)
            for inner, other in _elements(before, after):
                yield from _removed(inner, other, old_root, new_root, f"{at}[]")


def _elements(one: Schema, other: Schema) -> Iterator[tuple[Schema, Schema]]:
    """What stands in both in the same places: of arrays, of pairs, of objects with any names."""
    if "prefixItems" in one or "prefixItems" in other:
        count = max(len(one.get("prefixItems", [])), len(other.get("prefixItems", [])))
        yield from zip(_places(one, count), _places(other, count), strict=True)
    for key in ("items", "additionalProperties"):
        if isinstance(one.get(key), dict) and isinstance(other.get(key), dict):
            yield one[key], other[key]


def _places(array: Schema, count: int) -> list[Schema]:
    first: list[Schema] = array.get("prefixItems", [])
    return first + [array.get("items", {})] * (count - len(first))


def _alternatives(schema: Schema, root: Schema) -> list[Schema]:
    """What a schema is one of, with references followed; a constant is an enumeration of one."""
    if "$ref" in schema:
        return _alternatives(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return [one for option in schema["anyOf"] for one in _alternatives(option, root)]
    if "const" in schema:
        return [{**schema, "enum": [schema["const"]]}]
    return [schema]

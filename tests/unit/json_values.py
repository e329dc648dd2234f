"""Values that a JSON Schema allows, as Hypothesis draws them; it covers the keywords that pydantic writes for our models."""

from datetime import datetime
from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Values = st.SearchStrategy[Any]

LARGEST = 2**63 - 1


def values(schema: Schema, root: Schema | None = None) -> Values:
    """Values of a schema; limits are drawn more often than what lies between them."""
    root = root or schema
    if "$ref" in schema:
        return values(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return st.one_of([values(option, root) for option in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return _objects(schema, root)
        case "array":
            return _arrays(schema, root)
        case "string":
            return _strings(schema)
        case "integer":
            low, high = schema.get("minimum", -LARGEST), schema.get("maximum", LARGEST)
            return st.sampled_from([low, high]) | st.integers(low, high)
        case "number":
            return _numbers(schema)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return st.integers(0, 9)  # of any type


def _objects(schema: Schema, root: Schema) -> Values:
    if "properties" not in schema:
        inner = schema.get("additionalProperties")
        return st.dictionaries(
            st.text("abc", min_size=1), values(inner if isinstance(inner, dict) else {}, root), max_size=2
        )
    fields = {name: values(inner, root) for name, inner in schema["properties"].items()}
    required = schema.get("required", [])
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    )


def _arrays(schema: Schema, root: Schema) -> Values:
    if "prefixItems" in schema:
        return st.tuples(*(values(inner, root) for inner in schema["prefixItems"])).map(list)
    items, least = values(schema.get("items", {}), root), schema.get("minItems", 0)
    few = st.lists(items, min_size=least, max_size=max(least, min(3, schema.get("maxItems", 3))))
    return few | items.map(lambda one: [one] * schema["maxItems"]) if "maxItems" in schema else few


def _strings(schema: Schema) -> Values:
    if schema.get("format") == "date-time":
        # Since 1990: earlier offsets have seconds, which RFC 3339 does not allow.
        return st.datetimes(datetime(1990, 1, 1), timezones=st.timezones()).map(datetime.isoformat)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    least, most = schema.get("minLength", 0), schema.get("maxLength", 20)
    return st.sampled_from(["x" * least, "x" * most]) | st.text(min_size=least, max_size=min(most, 20))


def _numbers(schema: Schema) -> Values:
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    return st.floats(
        low,
        high,
        exclude_min="exclusiveMinimum" in schema,
        allow_nan=False,
        allow_infinity=False,
    )


def fields(schema: Schema, root: Schema | None = None, at: str = "") -> set[str]:
    """The path of every field, as `filter.genres`."""
    root = root or schema
    if "$ref" in schema:
        return fields(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, at)
    found: set[str] = set()
    for name, inner in schema.get("properties", {}).items():
        path = f"{at}.{name}".lstrip(".")
        found |= {path} | fields(inner, root, path)
    for key in ("anyOf", "prefixItems"):
        found |= {path for option in schema.get(key, []) for path in fields(option, root, at)}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found |= fields(schema[key], root, at)
    return found

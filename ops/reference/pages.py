"""Makes the reference pages from the code, and from templates (`*.md.in`) with the text around the tables."""

import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ops.reference.dashboard import dashboard
from ops.reference.memory import COMPRESSION, bound_table
from ops.reference.metrics import metrics_page
from ops.reference.schemas import schema_files
from schemas import dead_letter, feedback, kafka, manifest, profile, recommendation, release, withdrawal
from schemas.dead_letter import REASONS
from schemas.names import DEFAULT_PARTITIONS, Names
from schemas.profile import AGE_GROUPS, OCCUPATIONS
from schemas.settings import Settings
from schemas.topics import HEADERS, TOPICS, Topic

ROOT = Path(__file__).parents[2]
MADE = "<!-- Made by `python -m ops.reference` from the code; do not edit. -->"
_PLACEHOLDER = re.compile(r"\{(?:(about|fields) )?(\w+)\}")
_SCHEMAS = {
    name: value
    for module in (profile, recommendation, dead_letter, feedback, withdrawal, release, manifest)
    for name, value in vars(module).items()
}


def settings_page() -> str:
    """Make docs/settings.md."""
    fetch_mib = COMPRESSION * kafka.FETCH_BYTES // 2**20
    return _filled(
        "settings",
        {
            "settings": "\n".join(_settings()),
            "memory": "\n".join(bound_table(Settings.model_construct())),
            "queue_kbytes": f"{kafka.QUEUE_KBYTES:,}",
            "fetch_bytes": f"{kafka.FETCH_BYTES:,}",
            "compression": f"{COMPRESSION}",
            "fetch_mib": f"{fetch_mib}",
        },
    )


def contract_page() -> str:
    """Make docs/contract.md."""
    names = Names()
    values = {name: value for name, value in _SCHEMAS.items() if name.endswith(("_KEY", "_KEY_PREFIX"))}
    values |= {topic.name.replace("-", "_"): topic.name_in(names) for topic in TOPICS}
    columns = ("topic", "key", "partitions", "kept", "timestamps", "written by", "read by")
    values["topics"] = _table(columns, (_topic_row(topic, names) for topic in TOPICS))
    values["ages"] = ", ".join(map(str, AGE_GROUPS))
    values["occupations"] = ", ".join(f"{code} {name}" for code, name in enumerate(OCCUPATIONS))
    values["headers"] = _table(("header", "what"), ((f"`{name}`", text) for name, text in HEADERS.items()))
    reasons = ((f"`{reason.value}`", text) for reason, text in REASONS.items())
    values["reasons"] = _table(("reason", "when"), reasons)
    return _filled("contract", values)


def _filled(page: str, values: dict[str, str]) -> str:
    """Fill the placeholders of a template: `{name}` by a value, `{about Model}` and `{fields Model}` by a model."""
    of_model: dict[str, Callable[[type[BaseModel]], str]] = {"about": _about, "fields": _fields_table}

    def fill(match: re.Match[str]) -> str:
        kind, name = match.groups()
        return of_model[kind](_SCHEMAS[name]) if kind else values[name]

    template = (Path(__file__).parent / f"{page}.md.in").read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(fill, template.replace("{made}", MADE))


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines)
        .replace("| --- ", "|---")
        .replace("|--- |", "|---|")
    )


def _topic_row(topic: Topic, names: Names) -> list[str]:
    days = f", for {topic.retention_ms // 86_400_000} days" if topic.retention_ms else ""
    columns = [
        f"`{topic.name_in(names)}`",
        "; ".join(f"`{m.key}`" if len(topic.messages) > 1 else m.key for m in topic.messages),
        "1"
        if topic.single
        else "as `profiles`"
        if topic.name != "profiles"
        else f"{DEFAULT_PARTITIONS} by default",
        f"`{topic.cleanup}`{days}",
        "the broker's" if topic.broker_timestamps else "the writer's",
        ", ".join(sorted(topic.written_by)),
        ", ".join(sorted(topic.read_by)),
    ]
    return [column.replace("|", "\\|") for column in columns]


def _settings() -> Iterator[str]:
    """The tables of the settings: those without a group, then group by group."""
    fields = Settings.model_fields
    yield _settings_table("MARQUEE_", {name: field for name, field in fields.items() if not _group(field)})
    for name, field in fields.items():
        if group := _group(field):
            yield f"\n## {name}\n\n{_about(group)}\n"
            yield _settings_table(f"MARQUEE_{name.upper()}__", group.model_fields)


def pages() -> dict[Path, str]:
    """Make every generated page, by path."""
    return {
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "docs" / "contract.md": contract_page(),
        ROOT / "docs" / "metrics.md": metrics_page(MADE),
        **schema_files(),
        ROOT / "ops" / "dashboards" / "marquee.json": dashboard(),
    }


def _group(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _settings_table(prefix: str, fields: dict[str, FieldInfo]) -> str:
    return _table(
        ("variable", "default", "what"),
        ((f"`{prefix}{name.upper()}`", _default(field), _what(field)) for name, field in fields.items()),
    )


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`{}`"
    return "" if field.default is None else f"`{field.default}`"


def _fields_table(model: type[BaseModel]) -> str:
    properties = model.model_json_schema()["properties"]
    rows = []
    for name, field in model.model_fields.items():
        needed = ", required" if field.is_required() else ""
        rows.append((f"`{name}`", f"{_type(properties[name])}{needed}", _what(field)))
    return _table(("field", "type", "what"), rows)


def _what(field: FieldInfo) -> str:
    choices = [value for value in _choices(field.annotation) if value is not None]
    text = field.description or ""
    return f"{text} One of {', '.join(f'`{choice}`' for choice in choices)}.".strip() if choices else text


def _choices(annotation: object) -> list[object]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [choice.value for choice in annotation]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


def _type(schema: dict[str, object]) -> str:
    """Describe the type of a JSON Schema, with its bounds."""
    options = schema.get("anyOf")
    if isinstance(options, list):
        return " or ".join(_type(option) for option in options if option.get("type") != "null")
    if "$ref" in schema:
        return "object" if "State" not in str(schema["$ref"]) else "string"
    kind = str(schema.get("type", "object" if "properties" in schema else "string"))
    items = schema.get("items")
    if kind == "array" and isinstance(items, dict):
        kind = f"array of {_type(items)}"
    bounds = [
        f"{text} {schema[key]}"
        for key, text in {
            "minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "minLength": "length ≥", "maxLength": "length ≤",
            "minItems": "items ≥", "maxItems": "items ≤",
        }.items()
        if key in schema
    ]  # fmt: skip
    return f"{kind} ({', '.join(bounds)})" if bounds else kind

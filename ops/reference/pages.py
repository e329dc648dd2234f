"""The reference pages, made from the code that they describe: `python -m ops.reference` writes them, a test compares."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ops.reference.dashboard import dashboard
from ops.reference.memory import COMPRESSION, bound_table
from ops.reference.metrics import metrics_page
from ops.reference.schemas import schema_files
from schemas import kafka
from schemas.dead_letter import REASONS, RedriveMarker
from schemas.feedback import (
    OUTCOMES_KEY_PREFIX,
    POSITIONS_KEY,
    FeedbackEvent,
    OutcomesPositions,
    OutcomesRecord,
    RankOutcomes,
)
from schemas.manifest import Manifest
from schemas.names import DEFAULT_PARTITIONS, Names
from schemas.profile import AGE_GROUPS, OCCUPATIONS, Filter, ProfileEvent
from schemas.recommendation import Recommendation, RecommendedMovie, Source
from schemas.release import (
    ACTIVE_KEY,
    RELEASE_KEY_PREFIX,
    TOPIC_KEY_PREFIX,
    TRIAL_KEY,
    WORKER_KEY_PREFIX,
    ActiveRecord,
    CommandOutcome,
    ReleaseCommand,
    ReleaseRecord,
    TopicRecord,
    TrialRecord,
    WorkerRecord,
)
from schemas.settings import Settings
from schemas.topics import HEADERS, TOPICS, Topic
from schemas.withdrawal import Withdrawal

ROOT = Path(__file__).parents[2]
MADE = "<!-- Made by `python -m ops.reference` from the code; do not edit. -->"


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        MADE,
        "",
        "Each is a variable, or a line in the TOML file that `MARQUEE_CONFIG` names (`marquee.toml` in the working "
        "directory without it); variables win. `MARQUEE_SECRETS_DIR` names a folder with one file a secret, named like "
        "the variable in lower case. A wrong value ends every command with exit code 2 and the variable's name. "
        "`marquee config` shows what is in force, and where each value came from.",
        "",
        "A variable with one underscore in place of two is refused as well. Other `MARQUEE_…` variables are ignored and named "
        "once in the log, the links that Kubernetes makes of services among them. An empty value of a "
        "setting without a default is none. Choices may have any case.",
    ]
    top = {name: field for name, field in Settings.model_fields.items() if not _group(field)}
    lines += ["", *_settings_table("MARQUEE_", top)]
    for name, field in Settings.model_fields.items():
        group = _group(field)
        if group:
            lines += ["", f"## {name}", "", _sentence(group), ""]
            lines += _settings_table(f"MARQUEE_{name.upper()}__", group.model_fields)
    return "\n".join([*lines, "", *_memory()]) + "\n"


def _memory() -> list[str]:
    return [
        "## A worker's memory",
        "",
        "What events take at most, beyond what a worker has at rest (release, vectors, interpreter), with the settings above: "
        "`MARQUEE_WORKER__BATCH_EVENTS`, `MARQUEE_WORKER__BATCH_MAX_MB`, `MARQUEE_WORKER__CACHED_LISTS` and "
        "`MARQUEE_WORKER__CACHE_MAX_MB`, and librdkafka's `queued.max.messages.kbytes` "
        f"({kafka.QUEUE_KBYTES:,}) and `fetch.max.bytes` ({kafka.FETCH_BYTES:,}) in `MARQUEE_KAFKA__CLIENT`.",
        "",
        *bound_table(Settings.model_construct()),
        "",
        f"For records of 1 MiB and a little more, compressed {COMPRESSION}:1 at most, with one broker: each further one that "
        f"leads partitions may add a fetch of {COMPRESSION * kafka.FETCH_BYTES // 2**20} MiB to each consumer. A topic that "
        "takes larger records needs more: a record that is larger than a batch is a batch of its own. The headers of events are not "
        "counted, nor librdkafka's own half kilobyte for each record in a queue.",
    ]


def contract_page() -> str:
    """docs/contract.md."""
    names = Names()
    lines = [
        "# The wire contract",
        MADE,
        "",
        "JSON in UTF-8. Names are those of the default prefix, `marquee.`. Unknown fields are ignored, so that "
        "producers may move first.",
        "",
        "For machines: a JSON Schema of each kind of record and [AsyncAPI 3](schemas/asyncapi.json) in [schemas/](schemas/). "
        "A test compares them with the released ones ([released.json](schemas/released.json)): what was a profile event stays "
        "one, what reads recommendations and dead letters goes on reading them, and the records between workers and indexers "
        "are understood both ways.",
        "",
        "| topic | key | partitions | kept | timestamps | written by | read by |",
        "|---|---|---|---|---|---|---|",
        *(_topic_row(topic, names) for topic in TOPICS),
        "",
        "A process waits, with `/health/ready` at 503 and the remedy in it, while a topic that it uses has more than one partition "
        "where one is named here, or another `cleanup.policy`. Roles are those of `marquee acls`.",
        "",
        f"## {names.profiles}: the profile event",
        "",
        _sentence(ProfileEvent),
        'Types are strict: no `"27"`, no `true` for 1. Key: `user_id` as decimal text, or `event_id`, or null.',
        "",
        *_fields_table(ProfileEvent),
        "",
        "`filter`:",
        "",
        *_fields_table(Filter),
        "",
        f"Ages fall into ml-1m's groups, by their lower bounds: {', '.join(map(str, AGE_GROUPS))}. Occupations: "
        + ", ".join(f"{code} {name}" for code, name in enumerate(OCCUPATIONS))
        + ".",
        "",
        f"## {names.recommendations}: the recommendation",
        "",
        _sentence(Recommendation),
        "It has the event's key and headers, and the event's partition number, in the order of the offsets; its timestamp "
        "is the broker's. A header whose name is not UTF-8 is left out and counted; header values may be any bytes.",
        "",
        *_fields_table(Recommendation),
        "",
        "Each of `movies`:",
        "",
        *_fields_table(RecommendedMovie),
        "",
        "`source`:",
        "",
        *_fields_table(Source),
        "",
        f"## {names.dead_letters}: what could not be answered",
        "",
        "The event's own key, bytes and headers (but for those whose names are not UTF-8), in the event's partition number, with "
        "these headers:",
        "",
        "| header | what |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in HEADERS.items()),
        "",
        "| reason | when |",
        "|---|---|",
        *(f"| `{reason.value}` | {text} |" for reason, text in REASONS.items()),
        "",
        f"## {names.redriven}: dead letters that were published again, compacted",
        "",
        _sentence(RedriveMarker),
        "The event is a new one in `profiles`, with its key, bytes and headers but for those that begin with `marquee.`.",
        "",
        *_fields_table(RedriveMarker),
        "",
        f"## {names.feedback}: what people did with their recommendations",
        "",
        _sentence(FeedbackEvent),
        "Written by your application. Types are strict. What cannot be read becomes a dead letter, as an event does. It counts "
        "for a day after the recommendation; say `shown` of whatever was seen, or every impression is a success.",
        "",
        *_fields_table(FeedbackEvent),
        "",
        f"## {names.outcomes}: what the outcomes worker counted, compacted, kept for 90 days",
        "",
        f"`{OUTCOMES_KEY_PREFIX}<beginning>|<release>|<segment>`: {_sentence(OutcomesRecord)}",
        "",
        *_fields_table(OutcomesRecord),
        "",
        "Each of `ranks`:",
        "",
        *_fields_table(RankOutcomes),
        "",
        f"`{POSITIONS_KEY}`: {_sentence(OutcomesPositions)}",
        "",
        *_fields_table(OutcomesPositions),
        "",
        f"## {names.withdrawals}: movies that nobody gets, compacted",
        "",
        _sentence(Withdrawal),
        "Key: the movie's id as decimal text. Written by `marquee withdraw` and `restore`, or by your application: partition 0.",
        "",
        *_fields_table(Withdrawal),
        "",
        f"## {names.release_commands}: what the admin producer asks for",
        "",
        _sentence(ReleaseCommand),
        "",
        *_fields_table(ReleaseCommand),
        "",
        f"## {names.releases}: the state of releases, compacted",
        "",
        "By key:",
    ]
    records: dict[str, type[BaseModel]] = {
        f"{RELEASE_KEY_PREFIX}<id>": ReleaseRecord,
        ACTIVE_KEY: ActiveRecord,
        TRIAL_KEY: TrialRecord,
        f"{WORKER_KEY_PREFIX}<id>": WorkerRecord,
        f"{TOPIC_KEY_PREFIX}<name>": TopicRecord,
    }
    for key, record in records.items():
        lines += ["", f"### `{key}`", "", *_fields_table(record)]
    lines += ["", "Each of `commands`:", "", *_fields_table(CommandOutcome)]
    lines += ["", "## manifest.json of a release", "", *_fields_table(Manifest)]
    return "\n".join(lines) + "\n"


def _topic_row(topic: Topic, names: Names) -> str:
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
    return f"| {' | '.join(column.replace('|', chr(92) + '|') for column in columns)} |"


def pages() -> dict[Path, str]:
    """Every generated page by its path."""
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


def _sentence(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _settings_table(prefix: str, fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| variable | default | what |"
    yield "|---|---|---|"
    for name, field in fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        if field.default_factory is not None:
            default = "`{}`"
        yield f"| `{prefix}{name.upper()}` | {default} | {_what(field)} |"


def _fields_table(model: type[BaseModel]) -> Iterator[str]:
    properties = model.model_json_schema()["properties"]
    yield "| field | type | what |"
    yield "|---|---|---|"
    for name, field in model.model_fields.items():
        needed = ", required" if field.is_required() else ""
        yield f"| `{name}` | {_type(properties[name])}{needed} | {_what(field)} |"


def _what(field: FieldInfo) -> str:
    choices = [value for value in _choices(field.annotation) if value is not None]
    said = field.description or ""
    return f"{said} One of {', '.join(f'`{choice}`' for choice in choices)}.".strip() if choices else said


def _choices(annotation: object) -> list[object]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [choice.value for choice in annotation]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


def _type(schema: dict[str, object]) -> str:
    """A JSON Schema's type in a few words, with its bounds."""
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

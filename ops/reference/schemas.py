"""The contract's files for machines, in docs/schemas, and the contract as it was last released, to compare with.

`python -m ops.reference` writes the first. `python -m ops.reference.schemas` is run with a release: it makes the contract of today the
one that later changes must be compatible with, and refuses one that breaks what was released before.
"""

import json
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

from schemas.compatibility import incompatibilities
from schemas.profile import MAX_GENRE_LENGTH, MAX_GENRES
from schemas.published import Json, asyncapi, json_schemas
from schemas.topics import MESSAGES, Compatibility

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "schemas"
RELEASED = FOLDER / "released.json"
# A release outlives the Marquee that wrote it: each version reads the manifests of all before.
_OTHERS: dict[str, Compatibility] = {"manifest": "BACKWARD"}
# Limits that were set on purpose on what had none, by record and field of its definitions: an event beyond them becomes a dead
# letter. Each is one that no honest producer meets. It leaves this table with the release that has it.
_LIMITED: dict[str, dict[tuple[str, str], Json]] = {
    # In a collection no movie has more genres, and none is longer; one event could ask for 149,000.
    "profile-event": {
        ("Filter", field): {
            "maxItems": MAX_GENRES,
            "items": {"type": "string", "maxLength": MAX_GENRE_LENGTH},
        }
        for field in ("genres", "not_genres")
    }
}


def schema_files() -> dict[Path, str]:
    """Every generated file by its path: a JSON Schema of each kind of record, and the AsyncAPI document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = {FOLDER / f"{name}.schema.json": _text(schema) for name, schema in json_schemas().items()}
    return files | {FOLDER / "asyncapi.json": _text(asyncapi(project["version"]))}


def broken_since_release() -> list[str]:
    """What of today's contract breaks the released one, a sentence each."""
    released: dict[str, Json] = json.loads(RELEASED.read_text(encoding="utf-8"))
    rules = _OTHERS | {message.name: message.compatibility for message in MESSAGES}
    today = json_schemas()
    problems = [f"{name} is gone" for name in released.keys() - today.keys()]
    for name, schema in released.items():
        if name in today:
            found = incompatibilities(_limited(schema, _LIMITED.get(name, {})), today[name], rules[name])
            problems += [f"{name}: {problem}" for problem in found]
    return problems


def _limited(schema: Json, limits: dict[tuple[str, str], Json]) -> Json:
    """The released schema with the limits that were set since."""
    limited: dict[str, Any] = deepcopy(schema)
    for (definition, field), limit in limits.items():
        limited["$defs"][definition]["properties"][field]["anyOf"][0] |= limit
    return limited


def _text(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if RELEASED.is_file() and (broken := broken_since_release()):
        sys.exit("The contract breaks the released one:\n" + "\n".join(broken))
    RELEASED.write_text(_text(json_schemas()), encoding="utf-8")

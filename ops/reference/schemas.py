"""The contract's files for machines, in docs/schemas, and the released contract.

`python -m ops.reference` writes the first. `python -m ops.reference.schemas` belongs to a release: it makes today's contract the
released one, with which later changes must be compatible (tests/unit/test_compatibility.py).
"""

import json
import tomllib
from pathlib import Path

from schemas.published import asyncapi, json_schemas

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "schemas"
RELEASED = FOLDER / "released.json"


def schema_files() -> dict[Path, str]:
    """Make the JSON Schema of each kind of record, and the AsyncAPI document, by path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = {FOLDER / f"{name}.schema.json": _text(schema) for name, schema in json_schemas().items()}
    return files | {FOLDER / "asyncapi.json": _text(asyncapi(project["version"]))}


def _text(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    RELEASED.write_text(_text(json_schemas()), encoding="utf-8")

"""The English of this repository: named subjects, active verbs, no history. The list of what is left only shrinks."""

import ast
import io
import json
import re
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Sentences by file that still break a rule. `python -m tests.unit.test_english` writes it; it must not grow.
LEFT = Path(__file__).with_name("english.json")

RULES = {
    "a relative clause as a noun": re.compile(
        r"\b(what|who|whoever|whatever|nobody|somebody|everybody|anybody)\s+(is|was|has|had|are|were|can|could|does|did"
        r"|comes|came|goes|stays?|waits?|it|they|we|he|an|a|the|no|nobody|cannot|reads?|takes?|gets?|makes?|asks?|needs?"
        r"|sends?|runs?)\b",
        re.I,
    ),
    "data that tells": re.compile(
        r"\b(tells?|told|telling)\b|\b(is|was|are|were) said\b|\bsays? (so|of|what|why|which|that|how)\b",
        re.I,
    ),
    "an archaic word": re.compile(
        r"\b(anew|for ever|thereof|whereof|mended?|mends|in hand|stands? still|stood still)\b", re.I
    ),
    "an opening without a subject": re.compile(r"^(Of|By|As|To be|With|Without|For whom|Beside) [a-z]"),
}
# Calls whose texts people read.
SHOWN = {"warning", "info", "error", "exception", "debug", "Option", "Argument", "Field"}


def broken(text: str) -> list[str]:
    return [rule for rule, pattern in RULES.items() for _ in pattern.finditer(text)]


def texts(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    return prose(source) if path.suffix == ".md" else strings(source)


def prose(source: str) -> Iterator[str]:
    """The lines of a page, without code."""
    fenced = False
    for line in source.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield line.strip("|# -*>")


def strings(source: str) -> Iterator[str]:
    """Docstrings, comments, log lines, errors and descriptions of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (ast.get_docstring(node) or "").split("\n")
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in SHOWN or name.endswith("Error"):
                given = [
                    *node.args,
                    *(each.value for each in node.keywords if each.arg in {"help", "description"}),
                ]
                yield from (
                    part.value
                    for argument in given
                    for part in ast.walk(argument)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")


def files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    # What was released stays as it was written, and this file quotes the rules.
    return [ROOT / name for name in listed if name not in {"CHANGELOG.md", "tests/unit/test_english.py"}]


def counted() -> Counter[str]:
    found = {str(path.relative_to(ROOT)): sum(len(broken(text)) for text in texts(path)) for path in files()}
    return Counter({name: count for name, count in sorted(found.items()) if count})


def test_no_file_breaks_a_rule_more_often_than_the_list_allows() -> None:
    allowed = Counter(json.loads(LEFT.read_text(encoding="utf-8")))
    assert counted() - allowed == Counter()


def test_the_list_allows_no_more_than_is_there() -> None:
    allowed = Counter(json.loads(LEFT.read_text(encoding="utf-8")))
    assert allowed - counted() == Counter(), "the list has shrunk: python -m tests.unit.test_english"


def test_each_rule_finds_its_sentence() -> None:
    assert broken("What cannot be read becomes a dead letter.") == ["a relative clause as a noun"]
    assert broken("The group told us so.") == ["data that tells"]
    assert broken("The worker starts anew.") == ["an archaic word"]
    assert broken("Of the broker's own.") == ["an opening without a subject"]
    assert broken("Invalid events go to dead-letters unchanged.") == []


if __name__ == "__main__":
    LEFT.write_text(json.dumps(counted(), indent=1) + "\n", encoding="utf-8")

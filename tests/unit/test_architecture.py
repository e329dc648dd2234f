"""docs/architecture.md names the packages, threads, topics and functions that the code has."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.names import Names
from schemas.topics import TOPICS, Topic
from worker.main import THREADS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STARTERS = {"start_vital", "start_side"}
FROM_VARIABLES = {"job", "read-aside", "rehearsal"}  # names that reach a starter through a variable


def cells(row_of: str) -> list[str]:
    """The cells of the row that begins with this one."""
    row = re.search(rf"^\| {re.escape(row_of)} \|(.*)\|$", PAGE, re.MULTILINE)
    assert row, f"no row of {row_of}"
    return [cell.strip() for cell in row[1].split("|")]


def packages(folder: str) -> set[str]:
    return {f"{folder}/{init.parent.name}" for init in (ROOT / folder).glob("*/__init__.py")}


@pytest.mark.parametrize("folder", ["worker", "ops"])
def test_the_page_has_every_package(folder: str) -> None:
    shown = set(re.findall(rf"`({folder}/\w+)`", PAGE))
    assert shown == packages(folder)


@pytest.mark.parametrize("folder", ["worker", "ops"])
def test_a_layers_contract_has_every_package(folder: str) -> None:
    """Given the rows of the page, each contract has the same packages side by side."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [contract["layers"] for contract in contracts if contract.get("containers") == [folder]]
    names = {name.strip("() ") for layer in layers[0] for name in layer.split("|")}
    assert {f"{folder}/{name}" for name in names} >= packages(folder)


@pytest.mark.parametrize("process", THREADS)
def test_the_page_has_the_threads_of_each_process(process: str) -> None:
    (shown,) = cells(process)
    assert tuple(re.findall(r"`([^`]+)`", shown)) == THREADS[process]


def test_the_list_of_threads_has_every_name_that_the_code_starts() -> None:
    started = {name for file in (ROOT / "worker").rglob("*.py") for name in thread_names(file)}
    assert started | FROM_VARIABLES == {name for names in THREADS.values() for name in names}


def thread_names(file: Path) -> Iterator[str]:
    """Names that a module gives to threads; of an f-string its beginning."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "thread_name_prefix"]
        if isinstance(node.func, ast.Name) and node.func.id in STARTERS:
            given += node.args[:1]
        for name in given:
            constant = name.values[0] if isinstance(name, ast.JoinedStr) else name
            if isinstance(constant, ast.Constant):
                yield str(constant.value)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_page_has_who_writes_and_reads_each_topic(topic: Topic) -> None:
    name = topic.name_in(Names(""))
    written, read = cells(f"`{name}`")
    assert written.split(", ") == sorted(topic.written_by)
    assert read.split(", ") == sorted(topic.read_by)
    assert f"[({name})]" in PAGE, f"the drawing has no {name}"


@pytest.mark.parametrize("step", re.findall(r"`(worker[\w.]+:[\w.]+)`", PAGE))
def test_each_step_of_an_event_is_a_function(step: str) -> None:
    module, _, path = step.partition(":")
    scope: ast.AST = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for name in path.split("."):
        found = [node for node in ast.iter_child_nodes(scope) if getattr(node, "name", None) == name]
        assert found, f"{module} has no {path}"
        scope = found[0]


def test_a_step_that_is_no_function_is_found_out() -> None:
    with pytest.raises(AssertionError, match="has no decode_twice"):
        test_each_step_of_an_event_is_a_function("worker.events.decode:decode_twice")

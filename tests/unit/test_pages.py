"""The hand-written pages name only existing files, headings, modules, commands, options and settings."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from ops.cli import build_app
from schemas.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(build_app())
# Named where they are read, and in docs/settings.md.
NO_SETTING = {"MARQUEE_CONFIG", "MARQUEE_SECRETS_DIR"}

page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))


def links(page: Path) -> list[str]:
    """Where a page points, but for addresses on the web."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [target for target in targets if not target.startswith(("https://", "http://"))]


def anchors(page: Path) -> set[str]:
    """Make the anchors of its headings as GitHub does."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@page
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert [link for link in links(page) if not leads_somewhere(page, link)] == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](page.md#a-heading) [b](page.md#another) [c](gone.md) [d](#a-heading)\n")
    assert [link for link in links(page) if not leads_somewhere(page, link)] == ["page.md#another", "gone.md"]


@page
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:docs|ops|producer|schemas|tests|worker)/[\w./-]*)`", page.read_text(encoding="utf-8")
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


@page
def test_modules_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"python -m ((?:ops|tests)[\w.]+)", page.read_text(encoding="utf-8"))
    assert [module for module in named if importlib.util.find_spec(module.rstrip(".")) is None] == []


def command_lines(page: Path) -> Iterator[list[str]]:
    """Find the arguments of `marquee` in code, up to a comment or a bracket."""
    text = page.read_text(encoding="utf-8")
    for code in [*re.findall(r"`([^`\n]+)`", text), *re.findall(r"^    (\S.*)$", text, re.MULTILINE)]:
        found = re.search(r"(?:^|/|-m )marquee ([a-z-].*)", code)
        if found:
            yield re.split(r"\s#|[;|…]", found[1])[0].split()


def unknown(words: list[str]) -> list[str]:
    """The words that name no command, or no option of the command."""
    at, wrong = COMMANDS, []
    options = {"--help", "--install-completion", "--show-completion"}
    for word in words:
        if isinstance(at, TyperGroup):
            if word in at.commands:
                at = at.commands[word]
                options |= {name for parameter in at.params for name in parameter.opts}
                if at.context_settings.get("ignore_unknown_options"):  # only names its successor
                    break
                continue
            if not word.startswith("-"):
                wrong.append(word)
                break
        name = word.partition("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*", name) and name not in options:
            wrong.append(word)
    return wrong


@page
def test_commands_and_options_that_are_named_exist(page: Path) -> None:
    assert [words for words in command_lines(page) if unknown(words)] == []


def test_a_command_or_an_option_that_does_not_exist_is_found() -> None:
    assert unknown(["dead-letters", "list", "--since", "24h"]) == []
    assert unknown(["dead-letters", "purge"]) == ["purge"]
    assert unknown(["reindex", "RELEASE", "--at-once"]) == ["--at-once"]


def variables() -> set[str]:
    """List the variables of each setting and of each group."""
    found = set()
    for name, field in Settings.model_fields.items():
        found |= {f"MARQUEE_{name}".upper(), f"MARQUEE_{name}__".upper()}
        inner = getattr(field.annotation, "model_fields", {})
        found |= {f"MARQUEE_{name}__{setting}".upper() for setting in inner}
    return found


@page
def test_variables_that_are_named_are_settings(page: Path) -> None:
    named = set(re.findall(r"MARQUEE_(?!TEST_)[A-Z_]+", page.read_text(encoding="utf-8")))
    assert named - variables() - NO_SETTING - {"MARQUEE_"} == set()

"""The locks hold for every interpreter that Marquee supports, and tell nothing of where they were made."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "ops" / "locks").glob("*.txt"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [
    classifier.rpartition(" ")[2] for classifier in PROJECT["classifiers"] if "Python :: 3." in classifier
]


def locked(lock: Path) -> list[Requirement]:
    return [Requirement(line.rstrip(" \\")) for line in lock.read_text().splitlines() if "==" in line]


def holds(requirement: Requirement, python: str) -> bool:
    environment = {"python_version": python, "python_full_version": f"{python}.1", "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def test_the_supported_pythons_are_the_classified_ones() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in supported] == PYTHONS


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text and not re.search(r"^-", text, re.MULTILINE)
    assert all("--hash=sha256:" in each for each in re.split(r"\n(?=\S)", text) if each.strip())


@pytest.mark.parametrize("python", PYTHONS)
def test_what_a_locked_package_needs_is_locked_too(python: str) -> None:
    pinned = {
        canonicalize_name(each.name) for each in locked(ROOT / "ops/locks/dev.txt") if holds(each, python)
    }
    missing = set()
    for name in pinned:
        try:
            needed = requires(name) or []
        except PackageNotFoundError:  # one for another interpreter than this
            continue
        wanted = (requirement for requirement in map(Requirement, needed) if holds(requirement, python))
        missing |= {each.name for each in wanted if canonicalize_name(each.name) not in pinned}
    assert missing == set()

"""Failpoints: an action runs where it was set, and nowhere else."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, cast, get_args

import pytest

import worker
from worker.monitoring.failpoints import Point, failpoint, set_failpoint


def test_each_failpoint_has_one_place_on_the_way_of_a_batch() -> None:
    # A point that the code does not pass is an order that the fault suite waits for without end.
    sources = [path.read_text(encoding="utf-8") for path in Path(worker.__file__).parent.rglob("*.py")]
    placed = Counter(re.findall(r'failpoint\("([a-z-]+)"', "\n".join(sources)))
    assert placed == Counter(get_args(Point))


def test_an_action_runs_at_its_failpoint_alone_until_it_is_removed() -> None:
    passed: list[object] = []
    set_failpoint("after-decode", lambda *context: passed.append(context))
    try:
        failpoint("after-decode", 7)
        failpoint("after-embed", 8)
    finally:
        set_failpoint("after-decode", None)
    failpoint("after-decode", 9)

    assert passed == [(7,)]


def test_an_unknown_failpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="after-lunch"):
        set_failpoint(cast(Any, "after-lunch"), None)

"""Failpoints: an action runs where it was set, and nowhere else."""

from typing import Any, cast

import pytest

from worker.monitoring.failpoints import failpoint, set_failpoint


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

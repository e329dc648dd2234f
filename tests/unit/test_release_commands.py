"""What each command about releases asks of the indexer, and the options that all of them have."""

from typing import Any

import pytest
from typer.testing import CliRunner

from ops.cli import build_app
from ops.commands import orders as release_commands

RELEASE = "20261121T101500-3f9c2a"
Sent = tuple[str, str | None, dict[str, Any]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """The orders that were sent: action, release, and every option."""
    seen: list[Sent] = []

    def carry_out(settings: Any, order: release_commands.Order, **said: Any) -> None:
        seen.append((order.action, order.release, order.fields | said | {"prefix": settings.prefix}))

    monkeypatch.setattr(release_commands, "carry_out", carry_out)
    return seen


@pytest.mark.parametrize(
    ("line", "action", "release", "own", "timeout_s"),
    [
        ("rollback", "rollback", None, {"expected_epoch": None}, 120.0),
        (f"rollback {RELEASE} --expected-epoch 3", "rollback", RELEASE, {"expected_epoch": 3}, 120.0),
        (f"activate {RELEASE} --force", "activate", RELEASE, {"force": True, "expected_epoch": None}, 120.0),
        (f"retire {RELEASE}", "retire", RELEASE, {}, 120.0),
        (f"shadow {RELEASE} --share 0.5", "shadow", RELEASE, {"share": 0.5}, 600.0),
        (f"canary {RELEASE}", "canary", RELEASE, {"share": 0.05, "force": False}, 600.0),
        ("end", "end", None, {}, 120.0),
    ],
)
def test_a_command_sends_its_own_options_and_has_the_shared_ones(
    sent: list[Sent], line: str, action: str, release: str | None, own: dict[str, Any], timeout_s: float
) -> None:
    shared = {"wait": True, "timeout_s": timeout_s, "as_json": False, "prefix": "marquee."}
    runner = CliRunner()

    plain = runner.invoke(build_app(), line.split())
    said = runner.invoke(
        build_app(), [*line.split(), *["--no-wait", "--timeout", "7", "--prefix", "x.", "--json"]]
    )

    assert (plain.exit_code, said.exit_code) == (0, 0), plain.output + said.output
    other = {"wait": False, "timeout_s": 7.0, "as_json": True, "prefix": "x."}
    assert sent == [(action, release, own | shared), (action, release, own | other)]

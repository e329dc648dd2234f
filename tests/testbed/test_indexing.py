"""An indexer process that ended is not waited for."""

import sys
from pathlib import Path

import pytest

from ops.local.process import ChildProcess
from producer import commands
from schemas.errors import MarqueeError
from schemas.release import CommandOutcome, ReleaseCommand
from schemas.settings import load_settings
from tests.testbed import indexing


def test_an_ended_indexer_fails_the_wait_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexer = ChildProcess(
        "indexer",
        [sys.executable, "-c", "print('no room'); raise SystemExit(3)"],
        log=tmp_path / "indexer.log",
    )
    indexer.start()

    def nothing(*_: object, **__: object) -> CommandOutcome:
        raise commands.NoOutcomeError("nothing became of the command")

    monkeypatch.setattr(commands, "wait_for_outcome", nothing)

    with pytest.raises(MarqueeError, match="ended with code 3") as raised:
        indexing._outcome(load_settings(), ReleaseCommand(action="index", release="r"), indexer)

    assert "no room" in str(raised.value)

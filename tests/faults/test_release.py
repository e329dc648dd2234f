"""The suite's own indexer is watched: nobody waits for what a dead one will not say."""

import sys
from pathlib import Path

import pytest

from ops.local.process import ChildProcess
from producer import commands
from schemas.errors import MarqueeError
from schemas.release import CommandOutcome, ReleaseCommand
from schemas.settings import load_settings
from tests.faults import release


def test_an_indexer_that_ended_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        release._outcome(load_settings(), ReleaseCommand(action="index", release="r"), indexer)

    assert "no room" in str(raised.value)

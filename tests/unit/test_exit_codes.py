"""A full disk ends a one-shot command with exit code 2, and a process that runs until it is stopped with exit code 1."""

import errno
import os
import sys
from collections.abc import Callable

import pytest

from ops import cli
from schemas.errors import SettingsError

_WORK = {
    "worker": "worker.main.run_worker",
    "indexer": "worker.main.run_indexer",
    "outcomes-worker": "worker.main.run_outcomes",
}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command, and return its exit code; the function `work` raises the error."""

    def run(command: str, work: str, error: Exception) -> int:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(work, fail)
        monkeypatch.setattr("ops.commands.processes.check_schemas", lambda _: None)
        monkeypatch.setattr("ops.deployment.logs.set_up", lambda *_: None)
        monkeypatch.setattr(sys, "argv", ["marquee", command])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    return run


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("command", _WORK)
def test_a_long_running_role_ends_with_1(
    command: str, number: int, ended: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(number, os.strerror(number), "/data")

    assert ended(command, _WORK[command], error) == 1
    assert "a file or folder here cannot be used as it is" in capsys.readouterr().err


@pytest.mark.parametrize("command", _WORK)
def test_a_wrong_setting_ends_a_role_with_2(command: str, ended: Callable[..., int]) -> None:
    assert ended(command, _WORK[command], SettingsError("wrong")) == 2


def test_a_command_ends_with_2(ended: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data")

    assert ended("config", "ops.deployment.settings.in_force", error) == 2
    assert "a file or folder here cannot be used as it is" in capsys.readouterr().err


def test_an_error_of_another_kind_keeps_its_traceback(ended: Callable[..., int]) -> None:
    with pytest.raises(ConnectionResetError):
        ended("worker", _WORK["worker"], ConnectionResetError(errno.ECONNRESET, "reset"))

"""Folders that cannot be written end a command with a sentence and exit code 2."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ops import cli


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        (["up", "--dir", "here"], {"XDG_CACHE_HOME": "/dev/null/cache"}),
        (["up", "--dir", "here"], {"HOME": "/dev/null", "XDG_CACHE_HOME": ""}),
        (["data", "generate", "/dev/null/data"], {}),
    ],
)
def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, command: list[str], environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops", *command],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "/dev/null" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_without_a_temporary_folder_names_the_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null/tmp"])
    monkeypatch.setattr(cli, "build_app", lambda: tempfile.mkdtemp)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "temporary directory" in capsys.readouterr().err


def test_ctrl_c_while_commands_are_imported_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "build_app", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == ""

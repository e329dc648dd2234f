"""Shell completion, in a real shell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# As a shell does when Tab is pressed after `marquee wo`: the printed script defines what it calls.
PRESS_TAB = """
eval "$(marquee --show-completion)"
COMP_WORDS=(marquee wo) COMP_CWORD=1
_marquee_completion marquee
echo "${COMPREPLY[@]}"
"""


def test_bash_completes_a_command(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    # The shell is found out from the parent process, so a shell it must be.
    done = subprocess.run(
        ["bash", "-c", PRESS_TAB], env=environment, capture_output=True, text=True, timeout=120, check=True
    )

    assert done.stdout.split() == ["worker"], done.stderr


@pytest.mark.parametrize(("shell", "answer"), [("zsh", '(("worker":'), ("fish", "worker\t")])
def test_zsh_and_fish_get_the_same_in_their_own_form(shell: str, answer: str) -> None:
    """Asked as their scripts ask, which `--show-completion` prints there."""
    asked = {
        "_MARQUEE_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "marquee wo",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    program = Path(sys.executable).parent / "marquee"

    done = subprocess.run(
        [program], env=os.environ | asked, capture_output=True, text=True, timeout=120, check=True
    )

    assert answer in done.stdout, done.stderr


def test_it_is_installed_for_the_shell_of_who_asks(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }

    done = subprocess.run(
        ["bash", "-c", "marquee --install-completion; true"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    installed = [path for path in tmp_path.rglob("*") if path.is_file() and "marquee" in path.name]
    assert installed, done.stderr
    assert "marquee" in (tmp_path / ".bashrc").read_text()

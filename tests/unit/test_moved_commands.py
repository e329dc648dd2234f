"""Commands that moved to the Makefile name their successors."""

import pytest
from typer.testing import CliRunner

from ops.cli import build_app
from ops.commands.moved import MovedError


@pytest.mark.parametrize("name", ["bench", "faults"])
def test_a_moved_command_exits_with_2_and_names_its_make_target(name: str) -> None:
    # When
    refusal = CliRunner().invoke(build_app(), [name, "--scenario", "kill9", "--quick"]).exception
    # Then
    assert isinstance(refusal, MovedError)
    assert refusal.exit_code == 2
    assert f"`make {name}`" in str(refusal)


def test_moved_commands_are_not_in_the_list_of_commands() -> None:
    output = CliRunner().invoke(build_app(), ["--help"]).output
    assert not {"bench", "faults"} & set(output.split())

"""A release command from the command line: sent, waited for with a progress bar, and told."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from schemas.release import Action, CommandOutcome, ReleaseCommand, ReleaseRecord
    from schemas.settings import Settings

SEND_SECONDS = 10.0

Release = Annotated[str, typer.Argument(help="Name of a release.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the outcome, and fail if it is refused.")
]
OutcomeTimeout = Annotated[float, typer.Option(help="Seconds to wait for the outcome.", min=0.1)]
Force = Annotated[
    bool, typer.Option("--force", help="Although its evaluation is below the active release's; recorded.")
]
ExpectedEpoch = Annotated[
    int | None,
    typer.Option(help="Change nothing where another epoch is active by then.", min=0, show_default=False),
]


def carry_out(
    settings: "Settings",
    action: "Action",
    release: str | None,
    *,
    wait: bool,
    timeout_s: float,
    as_json: bool,
    **fields: Any,
) -> None:
    """Send a command and, with `wait`, tell what became of it.

    Raises:
        MarqueeError: it was refused, or nothing became of it in time.
        UnreachableError: Kafka cannot be reached.
    """
    from producer.commands import send_command

    command = _command(action, release, fields)
    send_command(settings, command, min(timeout_s, SEND_SECONDS))
    if not wait:
        _show_sent(command, as_json)
        return
    outcome = _outcome(settings, command, timeout_s)
    if as_json:
        typer.echo(outcome.model_dump_json())
    if outcome.outcome != "done":
        raise MarqueeError(f"{_words(command)} was {outcome.outcome}: {outcome.reason}")
    if not as_json:
        typer.echo(f"{_words(command)}: done{f' ({outcome.reason})' if outcome.reason else ''}")


def _command(action: "Action", release: str | None, fields: dict[str, Any]) -> "ReleaseCommand":
    from schemas.release import ReleaseCommand

    try:
        return ReleaseCommand.model_validate({"action": action, "release": release} | fields)
    except ValueError:
        raise MarqueeError(
            f"{release!r} is no name of a release: they look like 20261121T101500-3f9c2a"
        ) from None


def _outcome(settings: "Settings", command: "ReleaseCommand", timeout_s: float) -> "CommandOutcome":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from producer.commands import wait_for_outcome

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("waiting for the indexer", total=1.0)

        def progress(record: "ReleaseRecord") -> None:
            bar.update(task, description=f"{record.release} {record.state.value}", completed=record.progress)

        return wait_for_outcome(settings, command, timeout_s, progress)


def _show_sent(command: "ReleaseCommand", as_json: bool) -> None:
    if as_json:
        typer.echo(command.model_dump_json())
    else:
        typer.echo(
            f"sent: {_words(command)} (command {command.command_id}); follow it with `marquee releases`"
        )


def _words(command: "ReleaseCommand") -> str:
    return f"{command.action} {command.release}" if command.release else command.action

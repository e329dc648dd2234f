"""`marquee reindex`: the admin producer; has a release embedded, indexed, checked and activated."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.options import AsJson, BootstrapServers, Prefix, Store, settings_with
from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from schemas.release import CommandOutcome, ReleaseCommand, ReleaseRecord
    from schemas.settings import Settings

LATEST = "latest"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reindex)


def reindex(
    release: Annotated[str, typer.Argument(help="Name of a release in the store, or `latest`.")] = LATEST,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is active, and fail if it is not.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Activate although its evaluation is below the active release's."),
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the outcome.", min=0.1)] = 600.0,
    bootstrap_servers: BootstrapServers = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Tell the indexer to embed, index, check and activate a release; workers then take it over by themselves.

    Exit codes: 0 sent, and with --wait active; 1 it was refused, or nothing became of it within --timeout; 2 Kafka cannot
    be reached.
    """
    from producer.commands import send_command
    from schemas.release import ReleaseCommand

    settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
    name = _latest(settings) if release == LATEST else release
    try:
        command = ReleaseCommand(action="index", release=name, force=force)
    except ValueError:
        raise MarqueeError(
            f"{name!r} is no name of a release: they look like 20261121T101500-3f9c2a"
        ) from None
    send_command(settings, command, min(timeout, 10.0))
    outcome = _wait(settings, command, timeout) if wait else None
    _show(command, outcome, as_json)
    if outcome and outcome.outcome != "done":
        raise MarqueeError(f"release {name} was not activated: {outcome.reason}")


def _latest(settings: "Settings") -> str:
    from worker.store import ReleaseStore

    names = ReleaseStore(settings.store).names()
    if not names:
        raise MarqueeError(
            f"the store {settings.store} has no release; train one with `marquee train`, or name the store with --store"
        )
    return names[-1]


def _wait(settings: "Settings", command: "ReleaseCommand", timeout_s: float) -> "CommandOutcome":
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


def _show(command: "ReleaseCommand", outcome: "CommandOutcome | None", as_json: bool) -> None:
    if as_json:
        shown = outcome.model_dump_json() if outcome else command.model_dump_json()
        typer.echo(shown)
    elif outcome is None:
        typer.echo(
            f"sent: index {command.release} (command {command.command_id}); follow it with `marquee status`"
        )
    elif outcome.outcome == "done":
        typer.echo(f"release {command.release} is active: {outcome.reason}")

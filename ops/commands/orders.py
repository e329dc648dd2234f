"""A release command that the command line sends, and the status that the indexer gives it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.commands.options import AsJson, BootstrapServers, Prefix, settings_with
from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from schemas.release import Action, CommandOutcome, ReleaseCommand, ReleaseRecord
    from schemas.settings import Settings

SEND_SECONDS = 10.0

Release = Annotated[str, typer.Argument(help="Name of a release.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the status, and fail if the command is refused.")
]
StatusTimeout = Annotated[float, typer.Option(help="Seconds to wait for the status.", min=0.1)]
Force = Annotated[
    bool, typer.Option("--force", help="Accept an evaluation below the active release's; recorded.")
]
ExpectedEpoch = Annotated[
    int | None,
    typer.Option(help="Change nothing if another epoch is active by then.", min=0, show_default=False),
]


@dataclass(frozen=True)
class Order:
    """An action, its release, and the other fields of the command."""

    action: "Action"
    release: str | None
    fields: dict[str, Any] = field(default_factory=dict)


def release_command(timeout_s: float) -> Callable[[Callable[..., Order]], Callable[..., None]]:
    """Decorate a function of its own options, which returns an order, into a command with the options that all share.

    Args:
        timeout_s: default of --timeout.
    """

    def shared(
        wait: Wait = True,
        timeout: StatusTimeout = timeout_s,
        bootstrap_servers: BootstrapServers = None,
        prefix: Prefix = None,
        as_json: AsJson = False,
    ) -> Callable[[Order], None]:
        settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
        return lambda order: carry_out(settings, order, wait=wait, timeout_s=timeout, as_json=as_json)

    def decorate(make: Callable[..., Order]) -> Callable[..., None]:
        own = inspect.signature(make).parameters

        @wraps(make)
        def command(**given: Any) -> None:
            order = make(**{name: given.pop(name) for name in own})
            shared(**given)(order)

        parameters = [*own.values(), *inspect.signature(shared).parameters.values()]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def carry_out(settings: "Settings", order: Order, *, wait: bool, timeout_s: float, as_json: bool) -> None:
    """Send a command, and with `wait` print its status.

    Raises:
        MarqueeError: the indexer refused it, or gave no status in time.
        UnreachableError: Kafka cannot be reached.
    """
    from producer.commands import send_command

    if order.release is None:
        _require_active(settings, order.action, min(timeout_s, SEND_SECONDS))
    command = _command(order)
    send_command(settings, command, min(timeout_s, SEND_SECONDS))
    if not wait:
        _show_sent(command, as_json)
        return
    status = _status(settings, command, timeout_s)
    if as_json:
        typer.echo(status.model_dump_json())
    if status.outcome != "done":
        raise MarqueeError(f"{_words(command)} was {status.outcome}: {status.reason}")
    if not as_json:
        typer.echo(f"{_words(command)}: done{f' ({status.reason})' if status.reason else ''}")


def _require_active(settings: "Settings", action: str, timeout_s: float) -> None:
    """Refuse a command without a release while none is active: no record would ever contain its status."""
    from worker.kafka.reader import read_releases

    if read_releases(settings, timeout_s).active is None:
        raise MarqueeError(f"no release is active, so there is nothing to {action}; see `marquee releases`")


def _command(order: Order) -> "ReleaseCommand":
    from schemas.release import ReleaseCommand

    try:
        return ReleaseCommand.model_validate(
            {"action": order.action, "release": order.release} | order.fields
        )
    except ValueError:
        raise MarqueeError(
            f"{order.release!r} is no name of a release: names look like 20261121T101500-3f9c2a"
        ) from None


def _status(settings: "Settings", command: "ReleaseCommand", timeout_s: float) -> "CommandOutcome":
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

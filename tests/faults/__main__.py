"""`make faults`: break servers, networks and processes on purpose, and check the promise of exactly once."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ops.commands.options import AsJson
from tests.testbed.command import make_command
from tests.testbed.command import run as run_command

if TYPE_CHECKING:
    from tests.faults.scenario import Result


def faults(
    scenario: Annotated[
        list[str] | None, typer.Option("--scenario", help="Name of one, may be repeated; all if left out.")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the scenarios, and run none.")] = False,
    scale: Annotated[
        Literal["small", "full"], typer.Option(help="Minutes, or the hours of the published report.")
    ] = "small",
    seed: Annotated[int, typer.Option(help="Seed of the faults' times and the events.")] = 1,
    milvus: Annotated[
        Literal["lite", "standalone"], typer.Option(help="The embedded server, or all of Milvus.")
    ] = "standalone",
    directory: Annotated[
        Path,
        typer.Option(
            "--dir", help="Folder of servers, logs and results; scenarios with a result are not run again."
        ),
    ] = Path(".marquee/faults"),
    run: Annotated[
        bool,
        typer.Option(
            "--run/--no-run",
            help="Run scenarios without a result; or only report results, with those of the last report at PATH.",
        ),
    ] = True,
    report: Annotated[
        Path | None, typer.Option(help="Write the report as PATH.json and PATH.md.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try to break the promise that each event ends in exactly one committed record.

    Starts real Kafka and Milvus and several workers, sends events with unique ids, injects faults by schedule and seed,
    and reads everything back twice with a client of its own: nothing may be lost, doubled, out of order, untrue or made
    by two releases. Delete DIR to start from nothing. Exit codes: 0 the promise was kept, 1 it was broken.
    """
    from rich.console import Console

    from ops.deployment import logs
    from ops.local.up import locked
    from schemas.settings import LogSettings
    from tests.faults.report import Report, published
    from tests.faults.scenarios import SCENARIOS
    from tests.faults.suite import Suite

    if list_them:
        for each in SCENARIOS.values():
            size = each.size(scale)
            typer.echo(f"{each.name:16} {each.about} ({size.faults:,} faults, {size.events:,} events)")
        return
    names = scenario or list(SCENARIOS)
    for name in names:
        if name not in SCENARIOS:
            raise typer.BadParameter(f"{name} is none of {', '.join(SCENARIOS)}", param_hint="--scenario")
    logs.set_up(LogSettings(level="WARNING"))
    console = Console(stderr=True)

    def say(result: "Result") -> None:
        console.print(f"{result.scenario}: {result.verdict} {result.reason}", highlight=False, markup=False)

    suite, chosen = Suite(directory.absolute(), scale, milvus, seed), [SCENARIOS[name] for name in names]
    if run:
        # As Ctrl-C does: networks and mounts are to be taken down.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        with locked(directory), console.status("Breaking things …"):
            results = suite.run(chosen, say)
    else:
        results = suite.kept(chosen, published(report) if report else ())
    made = Report(_command(names if scenario else [], scale, seed, milvus), results)
    if report:
        made.write(report)
    if as_json:
        typer.echo(made.json())
    else:
        Console(width=None if console.is_terminal else 160).print(made.table())
    if any(result.verdict == "BROKEN" for result in results):
        raise typer.Exit(1)


def _command(names: list[str], scale: str, seed: int, milvus: str) -> str:
    """The command line that gives the same report."""
    chosen = [argument for name in names for argument in ("--scenario", name)]
    options = ["--scale", scale, "--seed", str(seed), "--milvus", milvus]
    return make_command("faults", [*chosen, *options])


if __name__ == "__main__":
    run_command(faults)

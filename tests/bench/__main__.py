"""`make bench`: Marquee beside its limits, the seed's way and other systems."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import AsJson
from tests.testbed.command import run

if TYPE_CHECKING:
    from rich.console import Console

    from tests.bench.profile import Profile

_DEAREST = 10


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Six minutes: every figure from shorter runs, without the curves.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="A part (shared, pinned, replicated, partitions, workers, catalogue, batch, history) or a contender "
            "(limits, echo, milvus, exact, …); may be repeated; all if left out.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Only sample the worker at full load, and show where its CPU goes."),
    ] = False,
    directory: Annotated[Path, typer.Option("--dir", help="Folder of servers, releases and logs.")] = Path(
        ".marquee/bench"
    ),
    report: Annotated[
        Path | None,
        typer.Option(help="Write PATH.json, PATH.md and PATH-*.svg.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure Marquee beside its limits, the seed's way and peers, on real Kafka and Milvus Standalone.

    In one run, on the same events and the same release, in turns: events a second, CPU, memory, and latency at steady
    rates; with Milvus on all cores (shared) and on one of its own (pinned); on one Kafka node and on three. Peers get
    an environment of their own at first use. A machine that does anything else gives wrong figures. Exit codes: 0 all
    was measured, 1 something failed, which is named.
    """
    from rich.console import Console

    from ops.deployment import logs
    from ops.local.up import locked
    from schemas.settings import LogSettings, load_settings
    from tests.bench.plan import FULL, QUICK
    from tests.bench.report import Report, command_line
    from tests.bench.suite import NAMES, Bench

    logs.set_up(LogSettings(level="WARNING"))
    console, progress = Console(), Console(stderr=True)
    for name in only or ():
        if name not in NAMES:
            raise typer.BadParameter(f"{name} is none of {', '.join(NAMES)}", param_hint="--only")

    def say(text: str) -> None:
        progress.print(text, highlight=False, markup=False)

    names = frozenset(only or ())
    with locked(directory):
        suite = Bench(
            directory.absolute(),
            QUICK if quick else FULL,
            names,
            load_settings().worker.batch_events,
            say,
        )
        if profile:
            _print_profile(suite.profile(), console, as_json)
            return
        began = time.monotonic()
        results = suite.run()
        made = Report.of(command_line(quick, only or []), results, time.monotonic() - began)
    if report:
        made.write(report)
    if as_json:
        typer.echo(made.json())
    else:
        console.print(*made.tables(), sep="\n\n")
    if results.failures:
        raise typer.Exit(1)


def _print_profile(found: "Profile", console: "Console", as_json: bool) -> None:
    """The threads, and the ten dearest functions."""
    from rich.table import Table

    dearest = found.functions[:_DEAREST]
    if as_json:
        typer.echo(json.dumps(asdict(replace(found, functions=dearest)), indent=2))
        return
    threads = Table(
        "thread", "CPU µs an event", title=f"The worker at {found.events_per_second:,.0f} events/s"
    )
    for name, used in found.threads.items():
        threads.add_row(name, f"{used:.1f}")
    table = Table(
        *("function", "itself", "with what it calls"),
        title=f"What holds the interpreter's lock, which is held {found.locked:.0%} of the time",
    )
    for cost in dearest:
        table.add_row(cost.function, f"{cost.own:.1%}", f"{cost.with_callees:.1%}")
    console.print(threads, table, sep="\n\n")


if __name__ == "__main__":
    run(bench)

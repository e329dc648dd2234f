"""`marquee replay`: past events answered with a named release."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import (
    MOST,
    MOST_PARTITIONS,
    AsJson,
    BootstrapServers,
    Prefix,
    Store,
    Timeout,
    moment,
    settings_with,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    release: Annotated[str, typer.Option("--release", help="Name of a release in the store.")],
    out: Annotated[
        str,
        typer.Option("--out", help="Name of an existing topic, or a file of JSON lines, as published."),
    ],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="Offset in every partition, or a time: ISO 8601, or ago: 90m, 24h, 7d; or beginning.",
        ),
    ] = "beginning",
    stop: Annotated[
        str,
        typer.Option(
            "--to", help="End of the range, exclusive, in the form of --from; or end: the present end."
        ),
    ] = "end",
    partition: Annotated[
        int | None, typer.Option(help="Only this partition.", min=0, max=MOST_PARTITIONS, show_default=False)
    ] = None,
    batch: Annotated[int, typer.Option(help="Events in a batch.", min=1, max=16_384)] = 256,
    timeout: Timeout = 15.0,
    bootstrap_servers: BootstrapServers = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Answer a range of past events with a named release, by exact search, without an effect on the deployment.

    Uses the diversity of MARQUEE_WORKER__DIVERSITY, and an empty blocklist.

    Two runs on the same device, with the same versions and --batch, give the same bytes: results are ordered by partition
    and offset, and contain no time. Topics of the deployment are refused as the target.

    Exit codes: 0 done; 1 refused, or the release cannot be read; 2 wrong use, or Kafka cannot be reached.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ops.offline import replay as replaying
    from ops.offline.release import OfflineRelease

    settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
    replaying.refuse_own(settings.names, out)
    wanted = replaying.Range(_place(start, "beginning"), _place(stop, "end"), partition)
    target = (
        replaying.to_topic(settings, out, timeout)
        if replaying.topic_exists(settings, out, timeout)
        else replaying.to_file(Path(out))
    )
    loaded = OfflineRelease(settings, release)
    console = Console(stderr=True)
    with target as write, Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("replaying", total=None)
        done = replaying.replay(
            settings,
            loaded,
            wanted,
            write,
            batch=batch,
            timeout_s=timeout,
            report=lambda offsets, total: bar.update(task, completed=offsets, total=total),
        )
    if as_json:
        typer.echo(json.dumps({"release": release} | asdict(done)))
        return
    gone = f"; {done.gone:,} earlier offsets were removed by retention" if done.gone else ""
    typer.echo(
        f"{done.events:,} events answered by {release}, {done.dead_letters:,} of them dead letters{gone}"
    )


def _place(text: str, default: str) -> int | datetime | None:
    if text == default:
        return None
    if not text.isdecimal():
        return moment(text)
    if int(text) > MOST:
        raise typer.BadParameter(f"{text} is no offset: too large")
    return int(text)

"""`marquee withdraw`, `marquee restore` and `marquee withdrawals`: movies that nobody gets, whatever the release."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import LONGEST_S, AsJson, BootstrapServers, Prefix, Store, finite, settings_with

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.settings import Settings
    from schemas.withdrawal import Withdrawal

Ids = Annotated[list[int], typer.Argument(help="Ids of movies.", metavar="ID", min=1)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when every live worker has read it.")]
WaitTimeout = Annotated[
    float, typer.Option(help="Seconds to wait for the workers.", min=0.1, max=LONGEST_S, callback=finite)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(withdraw)
    app.command()(restore)
    app.command()(withdrawals)


def withdraw(
    ids: Ids,
    wait: Wait = False,
    timeout: WaitTimeout = 90.0,
    force: Annotated[
        bool, typer.Option("--force", help="Also ids that the active release does not know.")
    ] = False,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Have movies recommended to nobody, at once, without a new index.

    Every event that a worker takes after it has read the withdrawal gets a list without the movie: from Milvus, exact
    search and the cache, also after a swap, a rollback or a restart, until `marquee restore`. A worker reads it within a
    second; with --wait this returns when every live one has. One that was killed counts as live for a minute.

    Exit codes: 0 done; 1 an id is unknown, or not every worker had read it within --timeout; 2 Kafka cannot be reached.
    """
    from ops.deployment.titles import CALL_SECONDS, titles, unknown
    from producer.withdrawals import read_withdrawals
    from schemas.errors import MarqueeError
    from schemas.withdrawal import Withdrawal

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, store=store)
    already = read_withdrawals(settings, CALL_SECONDS)
    if not force:
        missing = unknown(titles(settings), [id_ for id_ in ids if id_ not in already])
        if missing:
            raise MarqueeError(
                f"the active release has no movie {', '.join(map(str, missing))}: nothing was withdrawn; check the ids, or "
                "withdraw them with --force for releases to come"
            )
    new = {id_: Withdrawal() for id_ in dict.fromkeys(ids) if id_ not in already}
    _tell(
        _Done("withdrawn", list(new), sorted(set(ids) - set(new)), _write(settings, new, wait, timeout)),
        as_json,
    )


def restore(
    ids: Ids,
    wait: Wait = False,
    timeout: WaitTimeout = 90.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Have withdrawn movies recommended again, as they would be had they never been withdrawn.

    Exit codes: 0 done; 1 a movie is not withdrawn, or not every worker had read it within --timeout; 2 Kafka cannot be
    reached.
    """
    from ops.deployment.titles import CALL_SECONDS
    from producer.withdrawals import read_withdrawals
    from schemas.errors import MarqueeError

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    already = read_withdrawals(settings, CALL_SECONDS)
    missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in already]
    if missing:
        raise MarqueeError(
            f"{', '.join(map(str, missing))} {'is' if len(missing) == 1 else 'are'} not withdrawn, and nothing was restored: "
            "`marquee withdrawals` lists what is"
        )
    restored = dict.fromkeys(ids)
    _tell(_Done("restored", list(restored), [], _write(settings, restored, wait, timeout)), as_json)


@dataclass(frozen=True)
class _Done:
    """What became of the ids, and the workers that have read it; None where they were not waited for."""

    what: str
    changed: list[int]
    before: list[int]  # were so already
    workers: list[str] | None


def _write(
    settings: "Settings", movies: "Mapping[int, Withdrawal | None]", wait: bool, timeout: float
) -> list[str] | None:
    from ops.deployment.titles import CALL_SECONDS
    from producer.withdrawals import end_of_withdrawals, wait_for_workers, write_withdrawals

    if movies:
        end = write_withdrawals(settings, movies, CALL_SECONDS)
    else:
        end = end_of_withdrawals(settings, CALL_SECONDS)
    return wait_for_workers(settings, end, timeout) if wait else None


def _tell(done: _Done, as_json: bool) -> None:
    if as_json:
        shown = {done.what: done.changed, "before": done.before, "read_by": done.workers}
        typer.echo(json.dumps(shown))
        return
    said = f"{done.what}: {len(done.changed)}"
    if done.before:
        said += f" of {len(done.changed) + len(done.before)} (the others were so before)"
    if done.workers is None:
        typer.echo(f"{said}; workers read it within a second")
    else:
        nobody = "nobody: no worker is live, those that start read it first"
        typer.echo(f"{said}; read by {', '.join(done.workers) or nobody}")


def withdrawals(
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """List the movies that are withdrawn, and since when.

    Exit code 2 where Kafka cannot be reached.
    """
    from rich.table import Table

    from ops.commands.printing import console
    from ops.deployment.titles import CALL_SECONDS, titles
    from producer.withdrawals import read_withdrawals

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, store=store)
    found = sorted(read_withdrawals(settings, CALL_SECONDS).items())
    since = {id_: record.withdrawn_at if record else None for id_, record in found}
    if as_json:
        typer.echo(
            json.dumps(
                [{"movie_id": id_, "withdrawn_at": at and at.isoformat()} for id_, at in since.items()]
            )
        )
        return
    named = titles(settings) or {}
    table = Table("Movie", "Title", "Withdrawn (UTC)", box=None)
    for id_, at in since.items():
        table.add_row(str(id_), named.get(id_, ""), f"{at:%Y-%m-%d %H:%M:%S}" if at else "?")
    console().print(table if since else "No movie is withdrawn.")

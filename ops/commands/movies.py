"""`marquee movies add`, and the blocklist: `marquee withdraw`, `marquee restore`, `marquee withdrawals`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import LONGEST_S, AsJson, BootstrapServers, Prefix, Store, finite, settings_with
from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from schemas.settings import Settings
    from schemas.withdrawal import Withdrawal

_CALL_SECONDS = 15.0

Ids = Annotated[list[int], typer.Argument(help="Ids of movies.", metavar="ID", min=1)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Return when every live worker has read it.")]
WaitTimeout = Annotated[
    float, typer.Option(help="Seconds to wait for the workers.", min=0.1, max=LONGEST_S, callback=finite)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Movies of a release.", no_args_is_help=True)
    group.command("add")(add)
    app.add_typer(group, name="movies")
    for command in (withdraw, restore, withdrawals):
        app.command()(command)


def add(
    file: Annotated[
        Path, typer.Argument(help="Movies as in movies.dat: `MovieID::Title (Year)::Genre|Genre` a line.")
    ],
    release: Annotated[
        str | None, typer.Option(help="The release to extend. By default the newest of the store.")
    ] = None,
    then_reindex: Annotated[
        bool, typer.Option("--then-reindex", help="Have it indexed and activated; return when it serves.")
    ] = False,
    store: Store = None,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Write a release with the same towers and more movies, and print its name. Workers swap to it like to any other.

    The vector of a new movie is made from its genres, title and year, and from the model's entry for unknown movies. The
    indexer embeds the new movies alone, and copies the other vectors from the release that is extended.

    Exit codes: 0 done; 1 the file is malformed, the release has a movie of it already, or the indexer refused the
    release; 2 Kafka cannot be reached (with --then-reindex).
    """
    from ops.data.lines import read
    from ops.data.movielens import parse_movies
    from ops.deployment.indexing import index, newest
    from ops.offline.extend import extend_release
    from worker.release.store import ReleaseStore

    settings = settings_with(store=store, bootstrap_servers=bootstrap_servers, prefix=prefix)
    movies = parse_movies(file, read(file))
    written = extend_release(ReleaseStore(settings.store), release or newest(settings), movies)
    if then_reindex:
        index(settings, written.release)
    if as_json:
        typer.echo(json.dumps({"release": written.release, "movies": written.movies, "added": len(movies)}))
        return
    typer.echo(written.release)
    if not then_reindex:
        typer.echo(
            f"{len(movies):,} movies more, {written.movies:,} in all; `marquee reindex {written.release} --wait` has it "
            "take over",
            err=True,
        )


def withdraw(
    ids: Ids,
    wait: Wait = False,
    timeout: WaitTimeout = 90.0,
    force: Annotated[
        bool, typer.Option("--force", help="Accept ids that the active release does not know.")
    ] = False,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Put movies on the blocklist: they are recommended to no user, at once, without a new index.

    Every list that a worker makes after it has read the withdrawal lacks the movie: from Milvus, exact search and the
    cache, also after a swap, a rollback or a restart, until `marquee restore`. A worker reads it within a second; with
    --wait this returns when every live worker has. A killed worker counts as live for a minute.

    Exit codes: 0 done; 1 an id is unknown, or a worker had not read it within --timeout; 2 Kafka cannot be reached.
    """
    from ops.deployment.releases import active_titles
    from producer.withdrawals import read_withdrawals
    from schemas.withdrawal import Withdrawal

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, store=store)
    already = read_withdrawals(settings, _CALL_SECONDS)
    if not force:
        _refuse_unknown(active_titles(settings, _CALL_SECONDS), [id_ for id_ in ids if id_ not in already])
    new = {id_: Withdrawal() for id_ in dict.fromkeys(ids) if id_ not in already}
    change = _Change(
        "withdrawn", list(new), sorted(set(ids) - set(new)), _write(settings, new, wait, timeout)
    )
    _show_change(change, as_json)


def restore(
    ids: Ids,
    wait: Wait = False,
    timeout: WaitTimeout = 90.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Take movies off the blocklist. They are recommended again as if they had never been withdrawn.

    Exit codes: 0 done; 1 a movie is not withdrawn, or a worker had not read it within --timeout; 2 Kafka cannot be
    reached.
    """
    from producer.withdrawals import read_withdrawals

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    already = read_withdrawals(settings, _CALL_SECONDS)
    missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in already]
    if missing:
        raise MarqueeError(
            f"{', '.join(map(str, missing))} {'is' if len(missing) == 1 else 'are'} not withdrawn, and nothing was restored: "
            "`marquee withdrawals` lists the blocklist"
        )
    restored = dict.fromkeys(ids)
    change = _Change("restored", list(restored), [], _write(settings, restored, wait, timeout))
    _show_change(change, as_json)


def withdrawals(
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """List the movies that are withdrawn, and since when.

    Exit code 2 if Kafka cannot be reached.
    """
    from rich.table import Table

    from ops.commands.printing import console
    from ops.deployment.releases import active_titles
    from producer.withdrawals import read_withdrawals

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, store=store)
    found = sorted(read_withdrawals(settings, _CALL_SECONDS).items())
    since = {id_: record.withdrawn_at if record else None for id_, record in found}
    if as_json:
        rows = [{"movie_id": id_, "withdrawn_at": at and at.isoformat()} for id_, at in since.items()]
        typer.echo(json.dumps(rows))
        return
    titles = active_titles(settings, _CALL_SECONDS) or {}
    table = Table("Movie", "Title", "Withdrawn (UTC)", box=None)
    for id_, at in since.items():
        table.add_row(str(id_), titles.get(id_, ""), f"{at:%Y-%m-%d %H:%M:%S}" if at else "?")
    console().print(table if since else "No movie is withdrawn.")


def _refuse_unknown(titles: Mapping[int, str] | None, ids: Sequence[int]) -> None:
    """Refuse ids without a title; without an active release there is nothing to compare them with."""
    missing = [] if titles is None else [id_ for id_ in dict.fromkeys(ids) if id_ not in titles]
    if missing:
        raise MarqueeError(
            f"the active release has no movie {', '.join(map(str, missing))}: nothing was withdrawn; check the ids, or "
            "withdraw them with --force for releases to come"
        )


@dataclass(frozen=True)
class _Change:
    """The ids that a command changed, those that needed no change, and the workers that have read it, if waited for."""

    verb: str
    changed: list[int]
    before: list[int]
    workers: list[str] | None


def _write(
    settings: "Settings", movies: "Mapping[int, Withdrawal | None]", wait: bool, timeout: float
) -> list[str] | None:
    from producer.withdrawals import end_of_withdrawals, wait_for_workers, write_withdrawals

    if movies:
        end = write_withdrawals(settings, movies, _CALL_SECONDS)
    else:
        end = end_of_withdrawals(settings, _CALL_SECONDS)
    return wait_for_workers(settings, end, timeout) if wait else None


def _show_change(change: _Change, as_json: bool) -> None:
    if as_json:
        shown = {change.verb: change.changed, "before": change.before, "read_by": change.workers}
        typer.echo(json.dumps(shown))
        return
    count = f"{change.verb}: {len(change.changed)}"
    if change.before:
        count += f" of {len(change.changed) + len(change.before)} (the others were so before)"
    if change.workers is None:
        typer.echo(f"{count}; workers read it within a second")
    else:
        none = "no worker: none is live, and a worker that starts reads it first"
        typer.echo(f"{count}; read by {', '.join(change.workers) or none}")

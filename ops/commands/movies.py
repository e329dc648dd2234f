"""`marquee movies add`: movies that nobody has rated, into a release without training."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import AsJson, BootstrapServers, Prefix, Store, settings_with


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    movies = typer.Typer(help="Movies of a release.", no_args_is_help=True)
    movies.command("add")(add)
    app.add_typer(movies, name="movies")


def add(
    file: Annotated[
        Path, typer.Argument(help="Movies as in movies.dat: `MovieID::Title (Year)::Genre|Genre` a line.")
    ],
    release: Annotated[
        str | None, typer.Option(help="The release to extend; the newest of the store if left out.")
    ] = None,
    then_reindex: Annotated[
        bool, typer.Option("--then-reindex", help="Have it indexed and activated, and return when it serves.")
    ] = False,
    store: Store = None,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Write a release with the same towers and more movies, whose name is printed; it swaps like any other.

    A new movie's vector comes from its genres, title and year, and from what the model learnt of movies that it does not
    know; the indexer embeds the new ones alone, and takes the others' vectors from the release that is extended.

    Exit codes: 0 done; 1 the file is malformed, a movie is there already, or the indexer refused the release; 2 Kafka cannot
    be reached (with --then-reindex).
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

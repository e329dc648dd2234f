"""`marquee data`: generate, fetch or check training data."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

Folder = Annotated[Path, typer.Argument(help="Folder of users.dat, movies.dat and ratings.dat.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the sizes as one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(help="Generate, fetch or check training data.", no_args_is_help=True)
    group.command("generate")(generate)
    group.command("fetch")(fetch)
    group.command("check")(check)
    app.add_typer(group, name="data")


def generate(
    folder: Folder,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and sizes give the same bytes.")] = 0,
    users: Annotated[int | None, typer.Option(min=1)] = None,
    movies: Annotated[int | None, typer.Option(min=1)] = None,
    ratings: Annotated[int | None, typer.Option(min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Generate users, movies and ratings in ml-1m's format, with tastes that a model can learn."""
    from ops.data import generate as generator

    chosen = {"users": users, "movies": movies, "ratings": ratings}
    sizes = generator.Sizes(**{name: size for name, size in chosen.items() if size is not None})
    generator.generate(folder, seed, sizes)
    check(folder, as_json)


def fetch(
    folder: Folder,
    url: Annotated[str | None, typer.Option(help="URL of ml-1m.zip. By default GroupLens.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence without a question.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download MovieLens 1M from GroupLens, after you accept its licence."""
    from rich.console import Console

    from ops.data import fetch as source

    console = Console(stderr=True)
    console.print(source.LICENCE, highlight=False)
    if not accept_licence and not typer.confirm("Do you accept these terms?", err=True):
        raise typer.Exit(1)
    folder.mkdir(parents=True, exist_ok=True)
    readme = _download(console, url or source.URL, folder)
    console.print(f"The licence in GroupLens' words is in {readme}.", highlight=False)
    check(folder, as_json)


def _download(console: "Console", url: str, folder: Path) -> Path:
    """Download and unpack the archive, and return its README."""
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    from ops.data import fetch as source

    archive = folder / "ml-1m.zip"
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("ml-1m.zip", total=None)
        source.download(
            url,
            archive,
            source.MD5,
            lambda there, total: bar.update(task, completed=there, total=total),
        )
    readme = source.unpack(archive, folder)
    archive.unlink()
    return readme


def check(folder: Folder, as_json: AsJson = False) -> None:
    """Read the three files, and print their sizes, or the line of the first fault."""
    from ops.data.movielens import load

    data = load(folder)
    fields = {
        "folder": str(folder),
        "users": len(data.users),
        "movies": len(data.movies),
        "ratings": len(data.ratings),
        "fingerprint": data.fingerprint,
    }
    if as_json:
        print(json.dumps(fields))  # noqa: T201
    else:
        print(  # noqa: T201
            f"{folder}: {fields['users']:,} users, {fields['movies']:,} movies, {fields['ratings']:,} ratings"
        )

"""`marquee export`: the same model in this Paddle's program format."""

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    release: Annotated[str, typer.Argument(help="Name of the release.")],
    store: Annotated[str | None, typer.Option(help="Where releases are kept, any fsspec URL.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print name and format as one JSON object.")
    ] = False,
) -> None:
    """Write a release again, as a new one, in the program format of the Paddle that runs here.

    Paddle 3 reads the programs of 2.6, not the other way round; run this under 2.6 to serve a release there.
    """
    from ops.training.export import export_release
    from schemas.settings import load_settings
    from worker.release.store import ReleaseStore

    manifest = export_release(ReleaseStore(store or load_settings().store), release)
    fields = {
        "release": manifest.release,
        "program_format": manifest.program_format,
        "paddle_version": manifest.paddle_version,
        "exported_from": release,
    }
    print(json.dumps(fields) if as_json else manifest.release)  # noqa: T201

"""Options that several commands share, and the settings that they make."""

from typing import Annotated, Any

import typer

from schemas.settings import Settings, load_settings

BootstrapServers = Annotated[
    str | None,
    typer.Option(
        help="Kafka brokers, host:port[,host:port…]; else MARQUEE_KAFKA__BOOTSTRAP_SERVERS.",
        show_default=False,
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option(help="Prefix of topics and collections; else MARQUEE_PREFIX.", show_default=False),
]
Milvus = Annotated[
    str | None,
    typer.Option("--milvus", help="URI of the Milvus server; else MARQUEE_MILVUS__URI.", show_default=False),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", help="Folder or fsspec URL of the releases; else MARQUEE_STORE.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait.", min=0.1)]


def settings_with(
    *,
    bootstrap_servers: str | None = None,
    prefix: str | None = None,
    milvus: str | None = None,
    store: str | None = None,
) -> Settings:
    """The settings of this process, with what the command line says over them.

    Raises:
        SettingsError: a value is wrong.
    """
    overrides: dict[str, Any] = {}
    if bootstrap_servers is not None:
        overrides["kafka"] = {"bootstrap_servers": bootstrap_servers}
    if milvus is not None:
        overrides["milvus"] = {"uri": milvus}
    if prefix is not None:
        overrides["prefix"] = prefix
    if store is not None:
        overrides["store"] = store
    return load_settings(**overrides)

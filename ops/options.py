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
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        help="Of /metrics and /health, 0 takes a free one; else MARQUEE_HTTP__PORT.",
        show_default=False,
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
    worker_id: str | None = None,
    indexer_id: str | None = None,
    port: int | None = None,
) -> Settings:
    """The settings of this process, with what the command line says over them.

    Raises:
        SettingsError: a value is wrong.
    """
    said = {
        "prefix": prefix,
        "store": store,
        "kafka": _given(bootstrap_servers=bootstrap_servers),
        "milvus": _given(uri=milvus),
        "worker": _given(id=worker_id),
        "indexer": _given(id=indexer_id),
        "http": _given(port=port),
    }
    return load_settings(**(_given(**said) or {}))


def _given(**values: Any) -> dict[str, Any] | None:
    """Those that were said; None where none was."""
    return {name: value for name, value in values.items() if value is not None} or None

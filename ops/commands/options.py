"""Options that several commands share, and the settings that they make."""

import math
import sys
from typing import Annotated, Any

import typer

from ops.data.seed_codes import AGE_NAMES, GENDER_NAMES, SEED_GENDERS, age_in_years
from schemas.profile import MAX_ID, MAX_K, MAX_RECENT, OCCUPATIONS, ProfileEvent
from schemas.settings import Settings, load_settings

# Of a wait, in seconds: a day. Python's timers and librdkafka's take no number that is much larger.
LONGEST_S = 86_400.0
# Of a count or an offset, and of a partition's number: what C takes.
MOST = sys.maxsize
MOST_PARTITIONS = 2**31 - 1


def finite(value: float | None) -> float | None:
    """Refuse `nan` and `inf`, which are within every range that Typer checks, or seem so."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


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
Timeout = Annotated[float, typer.Option(help="Seconds to wait.", min=0.1, max=LONGEST_S, callback=finite)]

# A profile, in the codes of the seed; `profile_with` makes an event of them.
Age = Annotated[
    int | None,
    typer.Option("-a", "--age", help="Code of the age group.", min=0, max=len(AGE_NAMES) - 1),
]
GenderCode = Annotated[
    int | None,
    typer.Option("-g", "--gender", help="0 male, 1 female.", min=0, max=len(GENDER_NAMES) - 1),
]
Job = Annotated[
    int | None,
    typer.Option("-j", "--job", help="Code of the occupation.", min=0, max=len(OCCUPATIONS) - 1),
]
User = Annotated[
    int | None, typer.Option("-u", "--user", help="User id of the training data.", min=1, max=MAX_ID)
]
Recent = Annotated[
    str | None,
    typer.Option(help="Movie ids watched and liked, oldest first, as in 1193,661.", show_default=False),
]
K = Annotated[int | None, typer.Option("-k", help="How many movies; 5 if missing.", min=1, max=MAX_K)]


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


def movie_ids(text: str) -> list[int]:
    """Movie ids parted by commas, as `--recent` takes them."""
    try:
        ids = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(
            f"movie ids parted by commas are wanted, as in 1193,661, not {text!r}"
        ) from None
    if len(ids) > MAX_RECENT or not all(1 <= movie_id <= MAX_ID for movie_id in ids):
        raise typer.BadParameter(f"at most {MAX_RECENT} movie ids, each from 1 to {MAX_ID}, are taken")
    return ids


def profile_with(
    *,
    age: int | None,
    gender: int | None,
    job: int | None,
    user: int | None,
    recent: str | None,
    k: int | None,
    event_id: str | None = None,
) -> ProfileEvent:
    """The event that the options of a profile say; what is left out is unknown."""
    return ProfileEvent(
        event_id=event_id,
        user_id=user,
        gender=None if gender is None else SEED_GENDERS[gender],
        age=None if age is None else age_in_years(age),
        occupation=job,
        recent=movie_ids(recent) if recent else None,
        k=k,
    )


def _given(**values: Any) -> dict[str, Any] | None:
    """Those that were said; None where none was."""
    return {name: value for name, value in values.items() if value is not None} or None

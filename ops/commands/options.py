"""Options that several commands share, and the settings and events made of them."""

import math
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from ops.data.seed_codes import AGE_NAMES, GENDER_NAMES, SEED_GENDERS, age_in_years
from schemas.profile import MAX_ID, MAX_K, MAX_RECENT, OCCUPATIONS, ProfileEvent
from schemas.settings import Settings, load_settings

# Longest wait, in seconds: a day. Python's timers and librdkafka's overflow at numbers that are much larger.
LONGEST_S = 86_400.0
# Largest count or offset, and largest partition number: the limits of librdkafka's C types.
MOST = sys.maxsize
MOST_PARTITIONS = 2**31 - 1
_AGO = re.compile(r"(\d+)([smhd])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def finite(value: float | None) -> float | None:
    """Refuse `nan` and `inf`, which pass every range check of Typer."""
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

# Options of a profile, in the codes of the seed; `profile_with` makes an event of them.
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


def moment(text: str) -> datetime:
    """Parse `2026-11-21T10:15` (UTC unless it contains a zone), or `90m`: so long ago; units are s, m, h and d.

    Raises:
        typer.BadParameter: the text is neither.
    """
    try:
        at = _parsed(text)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is outside of the calendar") from None
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither ISO 8601 nor a time ago, as 90m, 24h or 7d") from None
    if at < _EPOCH:  # Kafka reads a negative timestamp as the beginning or the end
        raise typer.BadParameter(f"{text!r} is before 1970, and no record is that old")
    return at


def _parsed(text: str) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    at = datetime.fromisoformat(text)
    # Converted at once: a moment near the calendar's ends may not exist in another zone.
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


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
    """Load the settings of this process; options of the command line win.

    Raises:
        SettingsError: a value is wrong.
    """
    options = {
        "prefix": prefix,
        "store": store,
        "kafka": _given(bootstrap_servers=bootstrap_servers),
        "milvus": _given(uri=milvus),
        "worker": _given(id=worker_id),
        "indexer": _given(id=indexer_id),
        "http": _given(port=port),
    }
    return load_settings(**(_given(**options) or {}))


def movie_ids(text: str) -> list[int]:
    """Parse movie ids separated by commas, as in `--recent`."""
    try:
        ids = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of movie ids separated by commas, such as 1193,661"
        ) from None
    if len(ids) > MAX_RECENT or not all(1 <= movie_id <= MAX_ID for movie_id in ids):
        raise typer.BadParameter(f"at most {MAX_RECENT} movie ids are allowed, each from 1 to {MAX_ID}")
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
    """Make a profile event of the options; a field whose option is missing is unknown."""
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
    """Select the values that are set; None if none is."""
    return {name: value for name, value in values.items() if value is not None} or None

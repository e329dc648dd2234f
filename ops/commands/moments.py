"""Moments as a person types them (ISO 8601, or how long ago), and how long things take, as a person reads it."""

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"(\d+)([smhd])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """`2026-11-21T10:15` (UTC where it names no zone), or `90m`: so long ago; s, m, h and d are known.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        at = _parsed(text)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is a moment that no calendar has") from None
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither ISO 8601 nor a time ago, as 90m, 24h or 7d") from None
    if at < _EPOCH:  # Kafka's timestamps; it takes a negative one for its beginning or its end
        raise typer.BadParameter(f"{text!r} is before 1970, and no record is that old")
    return at


def _parsed(text: str) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    at = datetime.fromisoformat(text)
    # In UTC at once: a moment near the calendar's ends has none in another zone.
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def duration(seconds: float) -> str:
    """`25 s`, `12 minutes`."""
    return f"{max(5, round(seconds / 5) * 5)} s" if seconds < 100 else f"{round(seconds / 60)} minutes"

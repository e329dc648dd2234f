"""Log lines on standard error, for a person or for a machine.

From INFO up, a line has no content of an event: the message of an exception may quote one, so that only its type and place are
shown. DEBUG shows the message too.
"""

import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import TypeAlias

import orjson

from schemas.settings import LogSettings

# Largest number of lines of one kind (logger and template) in a window, from WARNING up.
BURST = 5
WINDOW_SECONDS = 30.0

# Fields of a line about an event, by `worker.events.log_fields`.
_PLACE = ("topic", "partition", "offset", "release")

_ExceptionInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


class RateLimit(logging.Filter):
    """Drops lines of a part that fails all the time; the next line of its kind contains their number."""

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        if record.levelno < logging.WARNING:
            return True
        kind, now = (record.name, str(record.msg)), time.monotonic()
        began, seen = self._windows.get(kind, (now, 0))
        left_out = 0
        if now - began >= WINDOW_SECONDS:
            left_out, began, seen = max(0, seen - BURST), now, 0
        self._windows[kind] = (began, seen + 1)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out:,} more of this kind were dropped)"
            record.args = ()
            record.left_out = left_out
        return seen < BURST


class _TextFormatter(logging.Formatter):
    def __init__(self, *, quotes: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._quotes = quotes

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802  the base class names it
        return super().formatException(ei) if self._quotes else _without_message(ei)


class _JsonFormatter(_TextFormatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value
            for name in (*_PLACE, "left_out")
            if (value := getattr(record, name, None)) is not None
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def set_up(settings: LogSettings) -> None:
    """Write the lines of every logger, and warnings, to standard error by the settings."""
    quotes = settings.level == "DEBUG"
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        _JsonFormatter(quotes=quotes) if settings.format == "json" else _TextFormatter(quotes=quotes)
    )
    lines.addFilter(RateLimit())
    logging.getLogger("worker").setLevel(logging.NOTSET)
    logging.basicConfig(level=settings.level, handlers=[lines], force=True)
    logging.captureWarnings(True)


def _without_message(ei: _ExceptionInfo) -> str:
    """Format type and place of an exception and of its causes, the last one first."""
    shown = []
    error = ei[1]
    while error is not None:
        shown.append(
            f"{type(error).__qualname__}, at:\n{''.join(traceback.format_tb(error.__traceback__))}".rstrip()
        )
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(shown)

"""Log lines on standard error, for a person or for a machine."""

import logging
import sys
from datetime import UTC, datetime

import orjson

from schemas.settings import LogSettings


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def set_up(settings: LogSettings) -> None:
    """Send every logger's lines to standard error, as the settings say."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        _JsonFormatter()
        if settings.format == "json"
        else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    logging.getLogger("worker").setLevel(logging.NOTSET)
    logging.basicConfig(level=settings.level, handlers=[lines], force=True)

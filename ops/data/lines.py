"""Lines of `::`-separated fields, and errors that name file, line and reason."""

from collections.abc import Callable
from pathlib import Path

from schemas.errors import MarqueeError


class DataError(MarqueeError):
    """The data is missing or malformed; the message names file, line and reason."""


def read(path: Path) -> bytes:
    """The content of a file whose last line is whole.

    Raises:
        DataError: it is missing, empty, or cut off.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing: check the path, or copy it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise DataError(f"{path} is empty: copy or generate it again")
    if not content.endswith(b"\n"):
        last = content.count(b"\n") + 1
        raise DataError(f"{path}, line {last}: no newline at the end, so the file was cut off: copy it again")
    return content


def each_line(path: Path, content: bytes, parse: Callable[[str], None]) -> None:
    """Pass each line to `parse`; a ValueError becomes a DataError with the line's number."""
    for number, line in enumerate(_text(content).removesuffix("\n").split("\n"), 1):
        try:
            parse(line.removesuffix("\r"))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None


def fields(line: str, names: str) -> list[str]:
    """The fields of a line, as many as `names` (separated alike) has."""
    values = line.split("::")
    if len(values) != names.count("::") + 1:
        raise ValueError(f"{len(values)} fields instead of {names}")
    return values


def integer(name: str, text: str, low: int, high: int) -> int:
    """A decimal integer from `low` to `high`."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name} must be an integer, got {text!r}")
    value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {value}")
    return value


def _text(content: bytes) -> str:
    """ml-1m is latin-1; the bootcamp's copy of the movies is UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")

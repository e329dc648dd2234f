"""The cache folder, and things that are made in it once: whole or not at all, also when several want them at once."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from schemas.errors import SettingsError


def cache_folder() -> Path:
    """`marquee` under XDG_CACHE_HOME, by default `~/.cache` (XDG base directory specification 0.8)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "marquee"


def made_once(name: str, make: Callable[[Path], Path]) -> Path:
    """The folder `name` in the cache; where it is missing, `make` is given an empty folder and returns what to keep.

    A lock has others wait for the first; what `make` left half done is removed.

    Raises:
        SettingsError: the cache cannot be written. What `make` raises, too.
    """
    try:
        return _made_once(cache_folder(), name, make)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        raise SettingsError(
            f"the cache folder cannot be used ({error}): set XDG_CACHE_HOME to one that can be written"
        ) from error


def _made_once(cache: Path, name: str, make: Callable[[Path], Path]) -> Path:
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=cache) as scratch:
                make(Path(scratch)).rename(folder)
    return folder

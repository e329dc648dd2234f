"""The cache folder, and the folders that are made in it once: whole or not at all, also by several processes."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from schemas.errors import SettingsError


def cache_folder() -> Path:
    """Find `marquee` under XDG_CACHE_HOME, by default `~/.cache` (XDG base directory specification 0.8)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "marquee"


def made_once(name: str, make: Callable[[Path], Path]) -> Path:
    """Return the folder `name` of the cache. If it is missing, `make` gets an empty folder and returns the one to keep.

    Other processes wait for the first at a lock. Whatever `make` leaves in the empty folder is removed.

    Raises:
        SettingsError: the cache cannot be written. Errors of `make` pass through.
    """
    try:
        return _made_once(cache_folder(), name, make)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        raise SettingsError(
            f"the cache folder cannot be used ({error}): set XDG_CACHE_HOME to a writable folder"
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

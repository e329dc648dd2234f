"""Space on this machine's disk for one build, and what a process that died left of it."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from schemas.errors import SettingsError


class Scratch:
    """Folders under the system's temporary one; `scope` is what no two live processes share."""

    def __init__(self, scope: str) -> None:
        self._prefix = f"marquee-{hashlib.sha256(scope.encode()).hexdigest()[:16]}-"

    def folder(self) -> tempfile.TemporaryDirectory[str]:
        """A new one, gone at the end of its `with`."""
        return tempfile.TemporaryDirectory(prefix=self._prefix)

    def clear(self) -> None:
        """Remove what a predecessor left; of a large catalogue that is some hundred megabytes.

        Raises:
            SettingsError: no folder can be made there.
        """
        try:
            for folder in Path(tempfile.gettempdir()).glob(f"{self._prefix}*"):
                shutil.rmtree(folder, ignore_errors=True)
            self.folder().cleanup()
        except OSError as error:
            raise SettingsError(
                f"the indexer cannot write to the temporary folder ({error}): set TMPDIR to one that it can write to"
            ) from None

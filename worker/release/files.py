"""The files under the store's URL, on any file system of fsspec, and the integrity of a release's files."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import MarqueeError, SettingsError
from schemas.manifest import (
    CATALOGUE_FILE,
    MANIFEST_FILE,
    MANIFEST_FORMAT,
    VOCABULARIES_FILE,
    FileEntry,
    Manifest,
)
from worker.errors import ReleaseError, StoreAwayError, UnreadableReleaseError

# Second of writing and the first digits of the manifest's sha256: names sort by time, and a changed manifest shows.
RELEASE_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
_NAME_DIGITS = 6
RESTORE = "copy the release into the store again, or train or export it again"
_PARTIAL = ".part"  # ends the name of a file that is being written


class StoreFiles:
    """Files by their path below the URL.

    Every method raises FileNotFoundError if the file does not exist, and StoreAwayError if the server is away or refuses the
    credentials: the libraries behind fsspec raise errors of their own, which are often no OSError.

    Raises:
        SettingsError: no file system that is installed knows the URL's protocol.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SettingsError(f"the store {url} cannot be opened: {error}") from None
        self.is_local = isinstance(self._system, LocalFileSystem)

    def path(self, *parts: str) -> str:
        """The path in the file system."""
        return "/".join([self._root.rstrip("/"), *parts])

    def names(self, *folder: str) -> list[str]:
        """The names in a folder now, sorted; none if it does not exist."""
        with self._named_failure("be read"):
            self._system.invalidate_cache()  # file systems cache listings without a limit
            try:
                entries = self._system.ls(self.path(*folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)

    def exists(self, *parts: str) -> bool:
        with self._named_failure("be read"):
            return bool(self._system.exists(self.path(*parts)))

    def read(self, *parts: str) -> bytes:
        """Read a whole file."""
        with self._named_failure("be read"):
            content: bytes = self._system.cat_file(self.path(*parts))
            return content

    @contextmanager
    def open(self, *parts: str) -> Iterator[BufferedReader]:
        """Open a file to read it."""
        with self._named_failure("be read"), self._system.open(self.path(*parts), "rb") as file:
            yield file

    def make_folder(self, *parts: str) -> None:
        with self._named_failure("be written to"):
            self._system.makedirs(self.path(*parts), exist_ok=True)

    def put(self, source: Path, *parts: str) -> None:
        """Copy a local file into the store."""
        with self._named_failure("be written to"):
            self._system.put_file(str(source), self.path(*parts))

    @contextmanager
    def replacing(self, folder: str, name: str, owner: str = "") -> Iterator[IO[bytes]]:
        """Write a file that appears under its name when it is complete; until then its name contains the owner."""
        partial = self.path(folder, _partial(name, owner))
        with self._named_failure("be written to"):
            with self._system.open(partial, "wb") as output:
                yield output
            self._system.mv(partial, self.path(folder, name))

    def remove_partial(self, folder: str, owner: str = "") -> None:
        """Remove the incomplete files of a process of this owner that died. No other process of the owner may write meanwhile."""
        for name in self.names(folder):
            if name.endswith(_PARTIAL) and _owner_of_partial(name) == owner:
                with self._named_failure("be written to"), suppress(FileNotFoundError):
                    self._system.rm_file(self.path(folder, name))

    def local_folder(self, name: str) -> Path:
        """The folder in which Paddle opens the files: in a local store itself, else in a cache on this machine."""
        if self.is_local:
            return Path(self._root) / name
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "marquee" / "releases" / hashlib.sha256(self.url.encode()).hexdigest()[:16] / name

    def download(self, folder: str, name: str) -> None:
        """Copy a file of a remote store into its local folder; remove the local file if the store has none."""
        path = self.local_folder(folder) / name
        partial = path.with_name(_partial(name))
        with self._named_failure("be read"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._system.get_file(self.path(folder, name), str(partial))
                partial.replace(path)
            except FileNotFoundError:
                path.unlink(missing_ok=True)
            finally:
                partial.unlink(missing_ok=True)

    @contextmanager
    def _named_failure(self, action: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, MarqueeError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise StoreAwayError(f"the store {self.url} cannot {action}: {reason}") from error


def _partial(name: str, owner: str = "") -> str:
    """A name of one writer alone: in containers, all writers have the same process id."""
    return f"{name}.{owner}-{uuid.uuid4().hex[:12]}{_PARTIAL}"


def _owner_of_partial(name: str) -> str:
    return name.removesuffix(_PARTIAL).rpartition(".")[2].partition("-")[0]


def named(manifest: Manifest, files: dict[str, FileEntry]) -> Manifest:
    """Complete a manifest with its files, and with the name that follows from its content."""
    nameless = manifest.model_copy(update={"release": "", "files": files})
    digits = _digits_of(manifest_bytes(nameless), "")
    return nameless.model_copy(update={"release": f"{manifest.created_at:%Y%m%dT%H%M%S}-{digits}"})


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of manifest.json."""
    return manifest.model_dump_json(indent=2).encode() + b"\n"


def parse_manifest(release: str, content: bytes) -> Manifest:
    """Read a manifest, and check that it was not changed.

    Raises:
        UnreadableReleaseError: its format is newer than this version reads.
        ReleaseError: it is corrupt or was changed.
    """
    try:
        written_format = json.loads(content)["format"]
        if written_format > MANIFEST_FORMAT:
            raise UnreadableReleaseError(
                f"release {release} has a manifest of format {written_format}, and this Marquee reads up to "
                f"{MANIFEST_FORMAT}: upgrade Marquee, or serve an older release"
            )
        manifest = Manifest.model_validate_json(content)
    except (ValueError, KeyError, TypeError) as error:
        first_line = str(error).partition("\n")[0]
        raise ReleaseError(
            f"{MANIFEST_FILE} of release {release} is corrupt ({first_line}): {RESTORE}"
        ) from None
    if manifest.release != release or _digits_of(content, release) != release[-_NAME_DIGITS:]:
        raise ReleaseError(
            f"{MANIFEST_FILE} of release {release} was changed after it was written: {RESTORE}"
        )
    _check_list(manifest)
    return manifest


def _check_list(manifest: Manifest) -> None:
    """Raise ReleaseError unless the manifest lists every file of a release, and none outside of its folder."""
    towers = (manifest.towers.user, manifest.towers.movie)
    needed = {CATALOGUE_FILE, VOCABULARIES_FILE} | {
        file for tower in towers for file in (tower.program, tower.parameters)
    }
    if missing := sorted(needed - manifest.files.keys()):
        raise ReleaseError(
            f"{MANIFEST_FILE} of release {manifest.release} does not list {', '.join(missing)}: {RESTORE}"
        )
    if any("/" in name or name.startswith(".") for name in manifest.files):
        raise ReleaseError(
            f"{MANIFEST_FILE} of release {manifest.release} lists a file outside of its folder: {RESTORE}"
        )


def digest(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def check_file(release: str, path: Path, entry: FileEntry) -> None:
    """Raise ReleaseError unless the file has the size and sha256 of its entry."""
    if not path.is_file():
        raise ReleaseError(f"release {release} lacks {path.name} ({path}): {RESTORE}")
    size = path.stat().st_size
    if size != entry.size:
        raise ReleaseError(f"{path} of release {release} has {size} bytes instead of {entry.size}: {RESTORE}")
    if digest(path) != entry:
        raise ReleaseError(
            f"{path} of release {release} is corrupt, its sha256 is not the manifest's: {RESTORE}"
        )


def _digits_of(content: bytes, release: str) -> str:
    """The last digits of a release's name: a hash of its manifest without the name."""
    nameless = content.replace(release.encode(), b"") if release else content
    return hashlib.sha256(nameless).hexdigest()[:_NAME_DIGITS]

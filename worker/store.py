"""The store: a folder (any fsspec URL) with a folder a release, and their vectors and evaluations beside them."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from schemas.errors import SettingsError
from schemas.manifest import (
    CATALOGUE_FILE,
    MANIFEST_FILE,
    MANIFEST_FORMAT,
    VOCABULARIES_FILE,
    FileEntry,
    Manifest,
)
from worker.catalogue import Catalogue
from worker.errors import ReleaseError, UnreadableReleaseError
from worker.release import Release, load_release
from worker.tower import Device, require_readable

# Second of writing and the first digits of the manifest's sha256: names sort by time, and a changed manifest shows.
RELEASE_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
NAME_DIGITS = 6

VECTORS_FOLDER = "vectors"
EVALUATIONS_FOLDER = "evaluations"

_COPY_BYTES = 1 << 20

RESTORE = "copy the release into the store again, or train or export it anew"


class ReleaseStore:
    """The releases under one URL.

    Raises:
        SettingsError: no file system that is installed knows the URL's protocol.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SettingsError(f"the store {url} cannot be opened: {error}") from None

    def names(self) -> list[str]:
        """The complete releases, oldest first.

        Raises:
            ReleaseError: the store cannot be read.
        """
        try:
            entries = self._files.ls(self._root, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ReleaseError(f"the store {self.url} cannot be read: {error}") from error
        names = sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)
        return [
            name
            for name in names
            if RELEASE_NAME.fullmatch(name) and self._files.exists(self._path(name, MANIFEST_FILE))
        ]

    def manifest(self, release: str) -> Manifest:
        """The manifest of a release.

        Raises:
            UnreadableReleaseError: its format is newer than this process knows.
            ReleaseError: there is none, or it is not what was written.
        """
        if not RELEASE_NAME.fullmatch(release):
            raise ReleaseError(f"{release!r} is no name of a release: they look like 20261121T101500-3f9c2a")
        try:
            content: bytes = self._files.cat_file(self._path(release, MANIFEST_FILE))
        except FileNotFoundError:
            raise ReleaseError(
                f"release {release} is not in the store {self.url}: check the name and the store, or train a release"
            ) from None
        except OSError as error:
            raise ReleaseError(
                f"release {release} cannot be read from the store {self.url}: {error}"
            ) from error
        return parse_manifest(release, content)

    def load(self, release: str, *, device: Device = "auto", threads: int = 1) -> Release:
        """Check every file of a release, then load it.

        Raises:
            UnreadableReleaseError: manifest or programs are of a format that this process cannot read.
            ReleaseError: it is missing, incomplete or corrupt.
            SettingsError: `device` is gpu, and there is none.
        """
        manifest = self.manifest(release)
        require_readable(manifest)
        return load_release(self.fetch(manifest), manifest, device, threads)

    def catalogue(self, release: str) -> Catalogue:
        """The movies of a release, without the rest of it. Raises as `manifest` and `fetch`."""
        folder = self.fetch(self.manifest(release), [CATALOGUE_FILE])
        return Catalogue.read(folder / CATALOGUE_FILE)

    def fetch(self, manifest: Manifest, names: Collection[str] | None = None) -> Path:
        """A local folder with the files of the release (those of `names` where they are given), each checked.

        Those of a remote store are copied into a cache first.

        Raises:
            ReleaseError: a file is missing, cut off or changed.
        """
        folder = self._local_folder(manifest.release)
        for name in manifest.files if names is None else names:
            path, entry = folder / name, manifest.files[name]
            if not self._is_local and not (path.is_file() and _digest(path) == entry):
                self._download(manifest.release, name, path)
            check_file(manifest.release, path, entry)
        return folder

    def create(self) -> None:
        """Make the store's folder where there is none.

        Raises:
            ReleaseError: it cannot be made.
        """
        try:
            self._files.makedirs(self._root, exist_ok=True)
        except OSError as error:
            raise ReleaseError(
                f"the store {self.url} cannot be made ({error}): check --store and its rights"
            ) from error

    def write(self, manifest: Manifest, folder: Path) -> Manifest:
        """Write a release: the files of `folder`, then the manifest, completed with files and name.

        A release without a manifest does not exist, so one that is cut off half-way is never seen.

        Raises:
            ReleaseError: the store cannot be written to.
        """
        try:
            return self._write(manifest, folder)
        except OSError as error:
            raise ReleaseError(f"the store {self.url} cannot be written to: {error}") from error

    def _write(self, manifest: Manifest, folder: Path) -> Manifest:
        files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        nameless = manifest.model_copy(update={"release": "", "files": files})
        digits = _name_digits(_manifest_bytes(nameless), "")
        name = f"{manifest.created_at:%Y%m%dT%H%M%S}-{digits}"
        named = nameless.model_copy(update={"release": name})
        self._files.makedirs(self._path(name), exist_ok=True)
        for file in files:
            self._files.put_file(str(folder / file), self._path(name, file))
        with self._replacing(name, MANIFEST_FILE) as output:
            output.write(_manifest_bytes(named))
        return named

    def write_vectors(self, release: str, vectors: NDArray[np.float32]) -> str:
        """Keep the catalogue's vectors, float32 [movies, dimension]; gives the file's sha256."""
        self._files.makedirs(self._path(VECTORS_FOLDER), exist_ok=True)
        with self._replacing(VECTORS_FOLDER, f"{release}.npy") as output:
            np.save(output, np.ascontiguousarray(vectors, np.float32))
        with self._files.open(self._path(VECTORS_FOLDER, f"{release}.npy"), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def keep_vectors(self, release: str, path: Path) -> str:
        """As `write_vectors`, from a local .npy file, which is never whole in memory."""
        self._files.makedirs(self._path(VECTORS_FOLDER), exist_ok=True)
        with path.open("rb") as vectors, self._replacing(VECTORS_FOLDER, f"{release}.npy") as output:
            shutil.copyfileobj(vectors, output, _COPY_BYTES)
        with path.open("rb") as vectors:
            return hashlib.file_digest(vectors, "sha256").hexdigest()

    def read_vectors(self, release: str, sha256: str) -> NDArray[np.float32]:
        """The vectors kept for a release, float32 [movies, dimension].

        Raises:
            ReleaseError: there are none, or their sha256 is another.
        """
        path = self._path(VECTORS_FOLDER, f"{release}.npy")
        try:
            with self._files.open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != sha256:
                    raise ReleaseError(
                        f"{path} has sha256 {found} where {sha256} was indexed: index release {release} again"
                    )
                # Mapped, where they are on this machine: workers on it share one copy.
                if self._is_local:
                    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
                    return mapped
                file.seek(0)
                vectors: NDArray[np.float32] = np.load(file, allow_pickle=False)
                return vectors
        except FileNotFoundError:
            raise ReleaseError(f"{path} is missing: index release {release} again") from None
        except OSError as error:
            raise ReleaseError(f"{path} cannot be read: {error}") from error

    def evaluation(self, release: str) -> dict[str, Any] | None:
        """What `marquee evaluate` found, or None where it has not run.

        Raises:
            ReleaseError: the file is no JSON object.
        """
        path = self._path(EVALUATIONS_FOLDER, f"{release}.json")
        try:
            evaluation = json.loads(self._files.cat_file(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ReleaseError(f"{path} cannot be read: {error}") from error
        if not isinstance(evaluation, dict):
            raise ReleaseError(f"{path} holds no JSON object: evaluate release {release} again")
        return evaluation

    def write_evaluation(self, release: str, evaluation: dict[str, Any], page: str) -> str:
        """Keep what `marquee evaluate` found, and its page beside it; gives the page's path.

        Raises:
            ReleaseError: the store cannot be written to.
        """
        try:
            self._files.makedirs(self._path(EVALUATIONS_FOLDER), exist_ok=True)
            with self._replacing(EVALUATIONS_FOLDER, f"{release}.html") as output:
                output.write(page.encode())
            with self._replacing(EVALUATIONS_FOLDER, f"{release}.json") as output:
                output.write(json.dumps(evaluation, indent=2).encode() + b"\n")
        except OSError as error:
            raise ReleaseError(f"the store {self.url} cannot be written to: {error}") from error
        return self._path(EVALUATIONS_FOLDER, f"{release}.html")

    @property
    def _is_local(self) -> bool:
        return isinstance(self._files, LocalFileSystem)

    def _path(self, *parts: str) -> str:
        return "/".join([self._root.rstrip("/"), *parts])

    def _local_folder(self, release: str) -> Path:
        """Where Paddle, which wants files, finds those of a release."""
        if self._is_local:
            return Path(self._root) / release
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "marquee" / "releases" / hashlib.sha256(self.url.encode()).hexdigest()[:16] / release

    def _download(self, release: str, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{name}.{os.getpid()}.part")
        try:
            self._files.get_file(self._path(release, name), str(partial))
        except FileNotFoundError:
            partial.unlink(missing_ok=True)
            path.unlink(missing_ok=True)  # an older copy that did not match
            return
        except OSError as error:
            raise ReleaseError(f"{self._path(release, name)} cannot be copied here: {error}") from error
        partial.replace(path)

    @contextmanager
    def _replacing(self, folder: str, name: str) -> Iterator[IO[bytes]]:
        """A file that appears under its name only when it is whole."""
        partial = self._path(folder, f"{name}.{os.getpid()}.part")
        with self._files.open(partial, "wb") as output:
            yield output
        self._files.mv(partial, self._path(folder, name))


def parse_manifest(release: str, content: bytes) -> Manifest:
    """Read a manifest and check that it is what was written.

    Raises:
        UnreadableReleaseError, ReleaseError
    """
    try:
        fields = json.loads(content)
        written_format = fields["format"]
        if written_format > MANIFEST_FORMAT:
            raise UnreadableReleaseError(
                f"release {release} has a manifest of format {written_format}, and this Marquee reads up to "
                f"{MANIFEST_FORMAT}: upgrade Marquee, or serve an older release"
            )
        manifest = Manifest.model_validate_json(content)
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"{MANIFEST_FILE} of release {release} is corrupt ({_first_line(error)}): {RESTORE}"
        ) from None
    if manifest.release != release or _name_digits(content, release) != release[-NAME_DIGITS:]:
        raise ReleaseError(f"{MANIFEST_FILE} of release {release} is not what was written: {RESTORE}")
    towers = (manifest.towers.user, manifest.towers.movie)
    needed = {CATALOGUE_FILE, VOCABULARIES_FILE} | {
        file for tower in towers for file in (tower.program, tower.parameters)
    }
    if missing := sorted(needed - manifest.files.keys()):
        raise ReleaseError(
            f"{MANIFEST_FILE} of release {release} does not list {', '.join(missing)}: {RESTORE}"
        )
    if any("/" in name or name.startswith(".") for name in manifest.files):
        raise ReleaseError(
            f"{MANIFEST_FILE} of release {release} lists a file outside of its folder: {RESTORE}"
        )
    return manifest


def check_file(release: str, path: Path, entry: FileEntry) -> None:
    """Raise ReleaseError unless the file has the size and sha256 of its entry."""
    if not path.is_file():
        raise ReleaseError(f"release {release} lacks {path.name} ({path}): {RESTORE}")
    size = path.stat().st_size
    if size != entry.size:
        raise ReleaseError(f"{path} of release {release} has {size} bytes instead of {entry.size}: {RESTORE}")
    if _digest(path) != entry:
        raise ReleaseError(
            f"{path} of release {release} is corrupt, its sha256 is not the manifest's: {RESTORE}"
        )


def _digest(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def _manifest_bytes(manifest: Manifest) -> bytes:
    return manifest.model_dump_json(indent=2).encode() + b"\n"


def _name_digits(content: bytes, release: str) -> str:
    """The digits that end a release's name: of its manifest's bytes without that name."""
    nameless = content.replace(release.encode(), b"") if release else content
    return hashlib.sha256(nameless).hexdigest()[:NAME_DIGITS]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

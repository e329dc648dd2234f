"""The store: a folder (any fsspec URL) with a folder a release, and their vectors and evaluations beside them."""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.manifest import CATALOGUE_FILE, MANIFEST_FILE, FileEntry, Manifest
from worker.errors import ReleaseError
from worker.release.catalogue import Catalogue
from worker.release.files import (
    RELEASE_NAME,
    RESTORE,
    StoreFiles,
    check_file,
    digest,
    manifest_bytes,
    named,
    parse_manifest,
)
from worker.release.release import Release, load_release
from worker.release.tower import Device, require_readable

VECTORS_FOLDER = "vectors"
EVALUATIONS_FOLDER = "evaluations"

_COPY_BYTES = 1 << 20


class ReleaseStore:
    """The releases under one URL. Every method raises ReleaseError if the store is away or refuses the credentials.

    Raises:
        SettingsError: no file system that is installed knows the URL's protocol.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files = StoreFiles(url)

    def names(self) -> list[str]:
        """The complete releases, oldest first."""
        return [
            name
            for name in self._files.names()
            if RELEASE_NAME.fullmatch(name) and self._files.exists(name, MANIFEST_FILE)
        ]

    def manifest(self, release: str) -> Manifest:
        """The manifest of a release.

        Raises:
            UnreadableReleaseError: its format is newer than this version reads.
            ReleaseError: it does not exist, or was changed.
        """
        if not RELEASE_NAME.fullmatch(release):
            raise ReleaseError(f"{release!r} is no name of a release: they look like 20261121T101500-3f9c2a")
        try:
            content = self._files.read(release, MANIFEST_FILE)
        except FileNotFoundError:
            raise ReleaseError(
                f"release {release} is not in the store {self.url}: check the name and the store, or train a release"
            ) from None
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

    def verify(self, release: str) -> None:
        """Check that the store itself holds every file of a release, whatever this machine's cache holds. Raises as `load`."""
        manifest = self.manifest(release)
        require_readable(manifest)
        for name, entry in manifest.files.items():
            self._check(manifest.release, name, entry)

    def missing(self, release: str) -> list[str]:
        """The files of a release that the store lacks, by name alone: cheap enough for every minute. Raises as `manifest`."""
        return sorted(self.manifest(release).files.keys() - set(self._files.names(release)))

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
        folder = self._files.local_folder(manifest.release)
        for name in manifest.files if names is None else names:
            path, entry = folder / name, manifest.files[name]
            if not self._files.is_local and not (path.is_file() and digest(path) == entry):
                self._files.download(manifest.release, name)
            check_file(manifest.release, path, entry)
        return folder

    def _check(self, release: str, name: str, entry: FileEntry) -> None:
        path = self._files.path(release, name)
        if self._files.is_local:
            check_file(release, Path(path), entry)
            return
        try:
            with self._files.open(release, name) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise ReleaseError(f"release {release} lacks {name} ({path}): {RESTORE}") from None
        if found != entry.sha256:
            raise ReleaseError(
                f"{path} of release {release} is corrupt, its sha256 is not the manifest's: {RESTORE}"
            )

    def create(self) -> None:
        """Make the store's folder where there is none."""
        self._files.make_folder()

    def write(self, manifest: Manifest, folder: Path) -> Manifest:
        """Write a release: the files of `folder`, then the manifest, completed with files and name.

        A release without a manifest does not exist, so one that is cut off half-way is never seen.
        """
        manifest = named(manifest, {path.name: digest(path) for path in sorted(folder.iterdir())})
        self._files.make_folder(manifest.release)
        for file in manifest.files:
            self._files.put(folder / file, manifest.release, file)
        with self._files.replacing(manifest.release, MANIFEST_FILE) as output:
            output.write(manifest_bytes(manifest))
        return manifest

    def keep_vectors(self, release: str, path: Path, owner: str = "") -> str:
        """Keep the catalogue's vectors, a local .npy file that is never whole in memory; gives its sha256.

        `owner` are letters and digits of the deployment that writes: several may share a store.
        """
        self._files.make_folder(VECTORS_FOLDER)
        place = (VECTORS_FOLDER, f"{release}.npy")
        with path.open("rb") as vectors, self._files.replacing(*place, owner) as output:
            shutil.copyfileobj(vectors, output, _COPY_BYTES)
        return digest(path).sha256

    def read_vectors(self, release: str, sha256: str) -> NDArray[np.float32]:
        """The vectors kept for a release, float32 [movies, dimension].

        Raises:
            ReleaseError: there are none, or their sha256 is another.
        """
        place = (VECTORS_FOLDER, f"{release}.npy")
        path = self._files.path(*place)
        try:
            with self._files.open(*place) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != sha256:
                    raise ReleaseError(
                        f"{path} has sha256 {found} where {sha256} was indexed: index release {release} again"
                    )
                # Mapped, where they are on this machine: workers on it share one copy.
                if self._files.is_local:
                    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
                    return mapped
                file.seek(0)
                vectors: NDArray[np.float32] = np.load(file, allow_pickle=False)
                return vectors
        except FileNotFoundError:
            raise ReleaseError(f"{path} is missing: index release {release} again") from None

    def remove_partial_vectors(self, owner: str = "") -> None:
        """Remove the incomplete vectors of an indexer of this owner that died; the caller is its leader."""
        self._files.remove_partial(VECTORS_FOLDER, owner)

    def evaluation(self, release: str) -> dict[str, Any] | None:
        """What `marquee evaluate` found, or None where it has not run.

        Raises:
            ReleaseError: the file is no JSON object.
        """
        place = (EVALUATIONS_FOLDER, f"{release}.json")
        path = self._files.path(*place)
        try:
            evaluation = json.loads(self._files.read(*place))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ReleaseError(f"{path} cannot be read: {error}") from error
        if not isinstance(evaluation, dict):
            raise ReleaseError(f"{path} holds no JSON object: evaluate release {release} again")
        return evaluation

    def write_evaluation(self, release: str, evaluation: dict[str, Any], page: str) -> str:
        """Keep what `marquee evaluate` found, and its page beside it; gives the page's path."""
        self._files.make_folder(EVALUATIONS_FOLDER)
        with self._files.replacing(EVALUATIONS_FOLDER, f"{release}.html") as output:
            output.write(page.encode())
        with self._files.replacing(EVALUATIONS_FOLDER, f"{release}.json") as output:
            output.write(json.dumps(evaluation, indent=2).encode() + b"\n")
        return self._files.path(EVALUATIONS_FOLDER, f"{release}.html")

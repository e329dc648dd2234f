"""Whether what a release's folder holds is what was written: by the manifest, its own name and the sha256 of each file."""

import hashlib
import json
import re
from pathlib import Path

from schemas.manifest import (
    CATALOGUE_FILE,
    MANIFEST_FILE,
    MANIFEST_FORMAT,
    VOCABULARIES_FILE,
    FileEntry,
    Manifest,
)
from worker.errors import ReleaseError, UnreadableReleaseError

# Second of writing and the first digits of the manifest's sha256: names sort by time, and a changed manifest shows.
RELEASE_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
_NAME_DIGITS = 6
RESTORE = "copy the release into the store again, or train or export it anew"


def named(manifest: Manifest, files: dict[str, FileEntry]) -> Manifest:
    """The manifest as it is written: with its files, and the name that follows from all of it."""
    nameless = manifest.model_copy(update={"release": "", "files": files})
    digits = _digits_of(manifest_bytes(nameless), "")
    return nameless.model_copy(update={"release": f"{manifest.created_at:%Y%m%dT%H%M%S}-{digits}"})


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of manifest.json."""
    return manifest.model_dump_json(indent=2).encode() + b"\n"


def parse_manifest(release: str, content: bytes) -> Manifest:
    """Read a manifest and check that it is what was written.

    Raises:
        UnreadableReleaseError: its format is newer than this process knows.
        ReleaseError: it is not what was written.
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
        raise ReleaseError(f"{MANIFEST_FILE} of release {release} is not what was written: {RESTORE}")
    _check_list(manifest)
    return manifest


def _check_list(manifest: Manifest) -> None:
    """Raise ReleaseError unless the manifest lists every file that is needed, and none outside of its folder."""
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
    """The digits that end a release's name: of its manifest's bytes without that name."""
    nameless = content.replace(release.encode(), b"") if release else content
    return hashlib.sha256(nameless).hexdigest()[:_NAME_DIGITS]

"""ml-1m.zip from GroupLens: downloaded with resume, checked, and unpacked."""

import hashlib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from ops.data.movielens import MOVIES_FILE, USERS_FILE
from ops.data.ratings import RATINGS_FILE
from schemas.errors import MarqueeError, UnreachableError

URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
# As GroupLens publishes it beside the archive.
MD5 = "c4d9eecfca2ab87c1945afe126590906"

LICENCE_URL = "https://files.grouplens.org/datasets/movielens/ml-1m-README.txt"
LICENCE = f"""\
MovieLens 1M is GroupLens' (University of Minnesota) and not part of Marquee. In short:
  - for research; any commercial use needs GroupLens' permission first
  - not to be redistributed without permission
  - publications that use it cite Harper and Konstan, "The MovieLens Datasets" (2015)
  - no endorsement by the University of Minnesota or GroupLens may be stated or implied
  - no guarantee of its correctness or fitness
The full text: {LICENCE_URL}"""

FILES = (USERS_FILE, MOVIES_FILE, RATINGS_FILE)
README = "README"

TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 16


class FetchError(MarqueeError):
    """The archive is broken, or another file."""


def download(url: str, path: Path, md5: str, report: Callable[[int, int | None], None]) -> None:
    """Download to `path` and check it; an earlier attempt is resumed.

    `report` gets the bytes there and the bytes in all (None where the server does not say).

    Raises:
        UnreachableError: the server cannot be reached, or broke off; the same call goes on from there.
        FetchError: the download is not the archive.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        _append(url, partial, report)
    except urllib.error.HTTPError as error:
        raise UnreachableError(
            f"{url} answered {error.code} {error.reason}: check --url, or try again later"
        ) from None
    except (OSError, urllib.error.URLError) as error:
        raise UnreachableError(
            f"{url} cannot be read ({error}): run the command again to go on from here"
        ) from None
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        partial.unlink()
        raise FetchError(
            f"what {url} sent has md5 {found} instead of {md5}, and was removed: run the command again"
        )
    partial.replace(path)


def _append(url: str, partial: Path, report: Callable[[int, int | None], None]) -> None:
    there = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the file is complete; the checksum decides whether it is right
        raise
    with response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            there = 0
        length = response.headers.get("Content-Length")
        total = there + int(length) if length else None
        with partial.open("ab" if there else "wb") as output:
            while block := response.read(BLOCK_BYTES):
                output.write(block)
                there += len(block)
                report(there, total)
    if total is not None and there < total:
        raise ConnectionError(f"it broke off after {there:,} of {total:,} bytes")


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the three files and GroupLens' README into `folder`; gives the README's path.

    Raises:
        FetchError: the archive is broken, or lacks one of them.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = {Path(name).name: name for name in packed.namelist()}
            if missing := [name for name in (*FILES, README) if name not in members]:
                raise FetchError(f"{archive} lacks {', '.join(missing)}: fetch ml-1m.zip, not another set")
            for name in (*FILES, README):
                (folder / name).write_bytes(packed.read(members[name]))
    except zipfile.BadZipFile as error:
        raise FetchError(f"{archive} is no zip archive ({error}): remove it and fetch it again") from None
    return folder / README

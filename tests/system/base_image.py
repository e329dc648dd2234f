"""A base image without a registry: Debian, from its packages, in the place of python:3.11-slim."""

import subprocess
import tempfile
from pathlib import Path

BASE_IMAGE = "python:3.11-slim"
# Bookworm's Python is 3.11, as the published image's; what else it holds is close to that image too.
RELEASE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv"


def base_archive(cache: Path) -> Path:
    """A tar archive of the root file system, made at first use (about a minute)."""
    archive = cache / f"{RELEASE}.tar"
    if archive.is_file():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=cache) as scratch:
        root, unfinished = Path(scratch) / "root", Path(scratch) / archive.name
        log = Path(scratch) / "log"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(root)]
        with log.open("wb") as output:
            done = subprocess.run(command, stdout=output, stderr=output, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"debootstrap ended with {done.returncode}:\n{log.read_text()[-2_000:]}")
        subprocess.run(["tar", "-C", str(root), "-cf", str(unfinished), "."], check=True)
        unfinished.rename(archive)
    return archive

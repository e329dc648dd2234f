"""A virtual environment for each peer: its own pinned packages in front, Paddle, pymilvus and the rest from ours."""

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

from ops.local.cache import made_once
from schemas.errors import MarqueeError

_HERE = Path(__file__).parent


def peer_python(name: str) -> Path:
    """The Python that has a peer installed, made at first use from `NAME.txt` (a lock with hashes).

    Raises:
        MarqueeError: its packages cannot be installed.
    """
    lock = (_HERE / f"{name}.txt").read_bytes()
    ours = sysconfig.get_paths()["purelib"]
    digest = hashlib.sha256(lock + ours.encode()).hexdigest()[:12]
    return (
        made_once(f"bench-{name}-{digest}", lambda scratch: _make(scratch / "venv", name, ours))
        / "bin/python"
    )


def _make(folder: Path, name: str, ours: str) -> Path:
    print(f"Installing {name} into an environment of its own, once …", file=sys.stderr)
    _run(name, sys.executable, "-m", "venv", str(folder))
    python = str(folder / "bin/python")
    _run(name, python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(_HERE / f"{name}.txt"))
    packages = next(folder.glob("lib/python*/site-packages"))
    # A .pth adds folders after the environment's own packages, so its pins win.
    (packages / "marquee.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return folder


def _run(name: str, *command: str) -> None:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise MarqueeError(
            f"{name} could not be installed: {said.stderr.strip()[-500:]}; check the network and try again"
        )

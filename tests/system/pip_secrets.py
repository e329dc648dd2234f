"""How pip reaches its registry on this machine, told to the pip inside an image's build."""

import ast
import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

# What another root file system can use; a folder of wheels, say, it cannot.
CARRIED = ("default-timeout", "extra-index-url", "index-url", "proxy", "timeout", "trusted-host")
LINE = re.compile(r"(?:global|install|:env:)\.([a-z-]+)=(.*)")


def pip_secrets(folder: Path) -> dict[str, Path]:
    """The build secrets `pip` and `ca` of ops/images/cpu.Dockerfile, as files in a folder."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = [match.groups() for line in listed.splitlines() if (match := LINE.fullmatch(line))]
    settings = {name: ast.literal_eval(value) for name, value in found}
    carried = {name: value for name, value in settings.items() if name in CARRIED}
    lines = [f"{name} = {value}" for name, value in (carried | {"cert": "/run/secrets/ca"}).items()]
    configuration = folder / "pip.conf"
    configuration.write_text("\n".join(["[global]", *lines]) + "\n")
    return {"pip": configuration, "ca": _authorities(settings.get("cert"))}


def _authorities(configured: str | None) -> Path:
    """The certificates that pip trusts here: its own setting, the usual variables, or the system's."""
    for name in (configured, os.environ.get("REQUESTS_CA_BUNDLE"), ssl.get_default_verify_paths().cafile):
        if name and Path(name).is_file():
            return Path(name)
    return Path("/etc/ssl/certs/ca-certificates.crt")

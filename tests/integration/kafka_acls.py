"""Kafka's own `kafka-acls.sh`, of the jars that Kafka runs on, and one more that only its tools need."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ops.local.cache import made_once
from ops.local.java import KAFKA_VERSION, QUICK, java_command

_HEAP_MB = 128
_COMMAND = "org.apache.kafka.tools.AclCommand"


def carry_out(commands: str, folder: Path) -> str:
    """Run each line, which calls `kafka-acls.sh`, in a shell; what the tool said.

    Args:
        folder: where the tool lies, and what the commands name without a path.
    """
    _write_tool(folder / "kafka-acls.sh")
    (folder / "admin.properties").write_text("security.protocol=PLAINTEXT\n")
    with ThreadPoolExecutor(4) as several:  # each mostly waits for the broker
        return "".join(several.map(lambda line: _run(line, folder), commands.splitlines()))


def _run(line: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def _write_tool(file: Path) -> None:
    tools = made_once(f"kafka-tools-{KAFKA_VERSION}", _fetch)
    # Java's AOT cache of Kafka holds for every class path that begins with Kafka's own.
    java, *options, kafka_classes = java_command(_HEAP_MB)
    command = [java, *QUICK, *options, f"{kafka_classes}:{tools}/*", _COMMAND]
    file.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
    file.chmod(0o755)


def _fetch(scratch: Path) -> Path:
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=scratch / "repository")
    jar = context.project("org.apache.kafka", "kafka-tools").at_version(KAFKA_VERSION).artifact().resolve()
    folder = scratch / "jars"
    folder.mkdir()
    (folder / Path(jar).name).write_bytes(Path(jar).read_bytes())
    return folder

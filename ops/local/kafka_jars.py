"""Apache Kafka's published jars, resolved from Maven Central into the cache folder."""

import logging
import shutil
import sys
from pathlib import Path

from ops.local.cache import made_once
from ops.local.process import LocalError

# The newest that ends each transaction: 4.3.1 and 4.4.0 leave out the end in a partition that has no leader for a moment
# (KAFKA-20734), and 4.3.1 was seen to leave members of a group without partitions.
KAFKA_VERSION = "4.2.2"
# One root and a logger that brings no other Kafka along; slf4j must be 1.7 (Kafka's own).
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"

logger = logging.getLogger(__name__)


def kafka_jars() -> Path:
    """The folder of the jars, fetched at first use (46 files, 45 MB, up to a minute).

    Raises:
        LocalError: they cannot be fetched.
    """
    return made_once(f"kafka-{KAFKA_VERSION}", _fetch)


def _fetch(scratch: Path) -> Path:
    try:
        from jgo.env import EnvironmentBuilder
        from jgo.maven import MavenContext
    except ImportError as error:
        raise LocalError(
            "Kafka's jars are fetched by the package jgo, which is missing; install marquee[local]."
        ) from error
    print(f"Fetching Apache Kafka {KAFKA_VERSION} (45 MB) from Maven Central, once …", file=sys.stderr)  # noqa: T201
    # A repository of our own: jgo neither locks the usual one nor notices a file that was cut off in it.
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

"""The contenders: a command each, which answers the same events from the same topics until SIGTERM."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.bench.deployment import Deployment
from tests.bench.peers.environment import peer_python
from tests.bench.workload import REPEATED

Delivery = Literal["exactly once", "at least once"]

# The setting, and its default; without a cache, except to measure the cache.
CACHE = "MARQUEE_WORKER__CACHED_LISTS"
CACHED_LISTS = "10000"


@dataclass(frozen=True)
class Contender:
    """`expected`: events/s that it may reach, the size of its first backlog; later backlogs use the measured rate.

    `distinct`: how many profiles there are among the events, all different where it is None.
    """

    name: str
    title: str
    delivery: Delivery
    expected: int
    command: Callable[[Deployment, str], list[str]]
    variables: Mapping[str, str] = field(default_factory=dict)
    own_group: bool = True
    answers: bool = True
    distinct: int | None = None

    def group(self, deployment: Deployment) -> str:
        """The consumer group that it reads with; the worker's follows from the prefix."""
        names = deployment.settings.names
        return f"{names.prefix}bench-{self.name}" if self.own_group else names.worker_group


def _script(module: str, mode: str) -> Callable[[Deployment, str], list[str]]:
    return lambda deployment, group: [
        *(sys.executable, "-m", module),
        *(deployment.release, deployment.collection, group, mode),
    ]


def _peer(package: str, script: str, mode: str) -> Callable[[Deployment, str], list[str]]:
    return lambda deployment, group: [
        *(str(peer_python(package)), "-m", f"tests.bench.peers.{script}"),
        *(deployment.release, deployment.collection, group, mode),
    ]


def marquee(
    name: str,
    title: str,
    expected: int,
    *,
    retrieval: Literal["milvus", "exact"] = "milvus",
    cache: bool = False,
    distinct: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> Contender:
    """`marquee worker` with some settings."""
    settings = {
        "MARQUEE_WORKER__RETRIEVAL": retrieval,
        CACHE: CACHED_LISTS if cache else "0",
        "MARQUEE_HTTP__PORT": "0",
    } | dict(variables or {})
    return Contender(
        name,
        title,
        "exactly once",
        expected,
        lambda *_: [sys.executable, "-m", "ops", "worker"],
        settings,
        own_group=False,
        distinct=distinct,
    )


def echo(sample: Path, events: int) -> Contender:
    """Kafka's limit."""
    return Contender(
        "echo",
        "Kafka echo of the same bytes",
        "exactly once",
        100_000,
        lambda _, group: [sys.executable, "-m", "tests.bench.peers.echo", str(sample), group, str(events)],
        answers=False,
    )


MARQUEE = marquee("milvus", "Marquee, Milvus, no cache", 8_000)
EXACT = marquee("exact", "Marquee, exact, no cache", 15_000, retrieval="exact")
SEED = Contender(
    "seed", "the seed's way, one by one", "at least once", 250, _script("tests.bench.peers.seed", "milvus")
)
PEERS = (
    Contender(
        "faststream",
        "FastStream, batches",
        "at least once",
        3_000,
        _peer("faststream", "faststream_batch", "milvus"),
    ),
    Contender(
        "quixstreams",
        "quix-streams, a sink",
        "at least once",
        3_000,
        _peer("quixstreams", "quix", "milvus"),
    ),
    Contender(
        "bytewax",
        "bytewax, flat_map_batch",
        "at least once",
        10_000,
        _peer("bytewax", "bytewax_flow", "milvus"),
    ),
)
EXACT_PEER = Contender(
    "faststream-exact",
    "FastStream, batches, exact",
    "at least once",
    5_000,
    _peer("faststream", "faststream_batch", "exact"),
)
COLD = marquee("milvus-cold", "Marquee, Milvus, cache cold", 8_000, cache=True)
WARM = marquee("milvus-warm", "Marquee, Milvus, cache warm", 20_000, cache=True, distinct=REPEATED)
# The first of `everybody`, whose ratios are the point.
HEADLINE = 3


def everybody(sample: Path, batch_events: int) -> list[Contender]:
    """All, in the order of the first round; `sample` holds the results of the echo."""
    return [echo(sample, batch_events), MARQUEE, EXACT, COLD, WARM, SEED, *PEERS, EXACT_PEER]

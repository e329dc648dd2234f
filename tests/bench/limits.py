"""Milvus' limit, measured in a process of its own (`tests.bench.limits`)."""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.local.process import ChildProcess
from schemas.profile import DEFAULT_K, ProfileEvent
from schemas.settings import load_settings
from tests.bench.deployment import Deployment
from tests.bench.workload import drafts
from worker.release.store import ReleaseStore
from worker.retrieval.index import ItemIds, VectorIndex, open_store

_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Ceiling:
    """The rate of a number of searches in flight; the CPU is the client's share of a search, per event."""

    events: int
    concurrency: int
    events_per_second: float
    cpu_us_per_event: float


@dataclass(frozen=True)
class Limits:
    """Every concurrency that was tried, and what embedding costs alone."""

    ceilings: list[Ceiling]
    embed_us_per_event: float

    @property
    def best(self) -> Ceiling:
        return max(self.ceilings, key=lambda each: each.events_per_second)


def measure_limits(deployment: Deployment, events: int, seconds: float, folder: Path) -> Limits:
    """Search with batches of so many events, for so many seconds at each concurrency.

    Raises:
        LocalError: the process failed.
    """
    command = [sys.executable, "-m", "tests.bench.limits", deployment.release, deployment.collection]
    child = ChildProcess(
        "ceiling",
        [*command, str(seconds), str(events)],
        log=folder / "ceiling.log",
        environment=deployment.environment,
    )
    child.start()
    try:
        child.finish(_TIMEOUT_SECONDS)
    finally:
        child.kill()
    said = json.loads(child.log.read_text().splitlines()[-1])
    return Limits([Ceiling(**each) for each in said["ceilings"]], said["embed_us_per_event"])


CONCURRENCIES = (1, 2, 3)
_QUERIES = 16_384
# The least that settles a tie at the cut.
_LIMIT = DEFAULT_K + 1
_WARM_SECONDS = 1.0


def main() -> None:
    """Measure, and print."""
    name, collection, seconds, events = sys.argv[1:5]
    settings = load_settings()
    release = ReleaseStore(settings.store).load(name, device="cpu")
    pool = drafts(release.features.vocabularies.users, release.catalogue.movie_ids.tolist(), _QUERIES)
    profiles = [ProfileEvent.model_validate_json(draft.value("limit")) for draft in pool]
    size = int(events)
    embedded = _timed(
        lambda row: release.embed_profiles(profiles[row : row + size]), size, 1, float(seconds) / 2
    )
    vectors = np.concatenate(
        [release.embed_profiles(profiles[row : row + 1_024]) for row in range(0, _QUERIES, 1_024)]
    )
    with closing(open_store(settings)) as store:
        index = store.index(collection, ItemIds(release.catalogue.movie_ids))
        search = _searcher(index, vectors, size)
        _timed(search, size, 2, _WARM_SECONDS)
        ceilings = [_timed(search, size, concurrency, float(seconds)) for concurrency in CONCURRENCIES]
    print(json.dumps(asdict(Limits(ceilings, embedded.cpu_us_per_event))))


def _searcher(index: VectorIndex, vectors: NDArray[np.float32], size: int) -> Callable[[int], object]:
    return lambda row: index.search(vectors[row : row + size], _LIMIT)


def _timed(call: Callable[[int], object], events: int, concurrency: int, seconds: float) -> Ceiling:
    """Call it with rows of the pool, in so many threads, for so long."""
    done: list[int] = []
    began, cpu = time.perf_counter(), time.process_time()

    def work(thread: int) -> None:
        number = thread
        while time.perf_counter() - began < seconds:
            call(number * events % (_QUERIES - events + 1))
            number += concurrency
            done.append(events)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.perf_counter() - began, time.process_time() - cpu
    return Ceiling(events, concurrency, sum(done) / took, 1e6 * used / sum(done))


if __name__ == "__main__":
    main()

"""Where an event's microseconds go, without Kafka and Milvus: `python -m tests.bench.stages`.

Answers batches of 1,024 by exact search repeatedly, on one core, and prints the least CPU of each stage: on a shared machine
the minimum is nearest to the cost of the work itself.
"""

import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import orjson
import typer
from confluent_kafka import Message
from prometheus_client import CollectorRegistry

from ops.data.generate import GENRES
from schemas.release import ActiveRecord
from schemas.settings import load_settings
from tests.bench.workload import USERS, bench_store
from worker.events import Event
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.process import tune_interpreter
from worker.release.store import ReleaseStore
from worker.serving import Answerer, Recommender, ReleaseLoader, ServedRelease, Serving

BATCH, BATCHES, ROUNDS = 1_024, 4, 10
_SEED = 1


class Stopwatch(Metrics):
    """CPU seconds of each stage of each batch."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[name] += time.process_time() - began


def events(kind: str, movies: int) -> list[Event]:
    """Events of random users: `history` with 20 movies, `filter` each with its own filter, `asking` with both and 10
    exclusions."""
    rng = random.Random(_SEED)
    made = []
    for number in range(BATCH * BATCHES):
        user, first = rng.randint(1, USERS), rng.randint(1920, 1990)
        event: dict[str, Any] = {"event_id": f"{number:016x}", "user_id": user, "age": rng.randint(1, 80)}
        if kind in ("history", "asking"):
            event["recent"] = rng.sample(range(1, movies + 1), 20)
        if kind == "asking":
            event["exclude"] = rng.sample(range(1, movies + 1), 10)
        if kind in ("filter", "asking"):
            years = [first, first + rng.randint(1, 80)]
            event["filter"] = {
                "genres": rng.sample(GENRES, 2),
                "not_genres": rng.sample(GENRES, 1),
                "years": years,
            }
        message = Message(
            topic="profiles",
            partition=number % 12,
            offset=number,
            value=orjson.dumps(event),
            key=b"%d" % user,
        )
        made.append(cast(Event, message))
    return made


def microseconds(served: ServedRelease, polled: list[Event]) -> dict[str, float]:
    """The least CPU microseconds an event of each stage and of all, over the batches."""
    metrics = Stopwatch()
    serving = Serving(served, 1)
    answerer = Answerer("dead-letters", lambda: serving, Recommender(observer=metrics), metrics)
    fewest: dict[str, float] = defaultdict(lambda: float("inf"))
    tune_interpreter()
    for start in list(range(0, len(polled), BATCH)) * ROUNDS:
        metrics.seconds.clear()
        with metrics.stage("all"):
            answerer.answer(polled[start : start + BATCH], Cancellation())
        for stage, seconds in metrics.seconds.items():
            fewest[stage] = min(fewest[stage], seconds / BATCH * 1e6)
    return fewest


def main() -> None:
    """Print a line for each kind of events."""
    with tempfile.TemporaryDirectory() as folder:
        store = bench_store(Path(folder))
        for kind, cached in (("plain", 0), ("filter", 0), ("history", 0), ("asking", 0), ("plain", 100_000)):
            worker = {"retrieval": "exact", "cached_lists": cached, "device": "cpu"}
            settings = load_settings(store=store, worker=worker)
            name = ReleaseStore(store).names()[-1]
            record = ActiveRecord(release=name, collection=settings.names.collection(name, 1), epoch=1)
            served = ReleaseLoader(settings).load(record)
            took = microseconds(served, events(kind, served.release.manifest.movies))
            stages = ", ".join(f"{stage} {us:.1f}" for stage, us in took.items() if stage != "all")
            typer.echo(f"{kind}{', cache warm' if cached else ''}: {took['all']:.1f} µs an event ({stages})")


if __name__ == "__main__":
    main()

"""Latency at a steady rate: events sent when they are due, whatever became of those before, and a committed reader."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from tests.bench.deployment import Deployment
from tests.bench.statistics import Seconds
from tests.bench.workload import Draft

_TICK_SECONDS = 0.002
# Up to this many events a second each goes at once; more wait 5 ms for others, which is part of their latency.
_PROMPT_RATE = 500.0
# Sent before those that count.
WARM_SECONDS = 0.3
_BATCH = 1_000
_POLL_SECONDS = 0.02
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Answered:
    """Events sent at `rate` a second, the latency of those that were answered, and how many were not (or twice)."""

    rate: float
    sent: int
    latencies: Seconds
    unanswered: int
    repeated: int
    movies: dict[int, tuple[int, ...]]  # by number of the event, the lists of the first ones


def live(
    deployment: Deployment,
    pool: Sequence[Draft],
    rate: float,
    seconds: float,
    *,
    patience_s: float,
    keep: int = 0,
) -> Answered:
    """Send for so long, and wait up to `patience_s` more for the results; the lists of the first `keep` are kept."""
    marker = f"live-{time.time_ns():x}-"
    total = int(rate * (WARM_SECONDS + seconds))
    reader = deployment.committed_reader(deployment.ends(deployment.settings.names.recommendations))
    # Connected when it has come to the end of each partition, so that the first results do not wait for that.
    reader.consume(deployment.settings.kafka.partitions, _CONNECT_SECONDS)
    sender = _Sender(deployment, pool, marker, rate, total)
    sender.start()
    arrived: list[tuple[float, bytes]] = []
    deadline = time.monotonic() + WARM_SECONDS + seconds + patience_s
    while len(arrived) < total and time.monotonic() < deadline:
        # One with a wait, the rest without: for many it would wait the whole time, which is no latency of anybody's.
        messages = reader.consume(1, _POLL_SECONDS)
        messages += reader.consume(_BATCH, 0)
        now = time.time()
        arrived.extend((now, message.value() or b"") for message in messages if message.error() is None)
    sender.join()
    reader.close()
    return _reckon(sender, marker, arrived, int(rate * WARM_SECONDS), keep)


class _Sender(threading.Thread):
    """An open loop: it never waits for answers."""

    def __init__(
        self, deployment: Deployment, pool: Sequence[Draft], marker: str, rate: float, total: int
    ) -> None:
        super().__init__(name="sender", daemon=True)
        self._deployment, self._pool, self._marker = deployment, pool, marker
        self.rate, self._total = rate, total
        self._producer = deployment.prompt_producer if rate <= _PROMPT_RATE else deployment.producer
        self.sent_at: list[float] = []

    def run(self) -> None:
        began = time.monotonic()
        while len(self.sent_at) < self._total:
            for number in range(
                len(self.sent_at), min(self._total, due(time.monotonic() - began, self.rate))
            ):
                draft = self._pool[number % len(self._pool)]
                value = draft.value(f"{self._marker}{number}")
                self.sent_at.append(time.time())
                self._deployment.produce(self._producer, draft.key, value)
            self._producer.poll(_TICK_SECONDS)


def due(elapsed_s: float, rate: float) -> int:
    """How many events are to be sent by then: the first at once, the others evenly."""
    return int(elapsed_s * rate) + 1


def _reckon(
    sender: _Sender, marker: str, arrived: Sequence[tuple[float, bytes]], warm: int, keep: int
) -> Answered:
    first: dict[int, float] = {}
    movies: dict[int, tuple[int, ...]] = {}
    repeated = 0
    for moment, value in arrived:
        said = orjson.loads(value)
        if not said["event_id"].startswith(marker):
            continue
        number = int(said["event_id"].removeprefix(marker))
        repeated += number in first
        first.setdefault(number, moment)
        if number < keep:
            movies[number] = tuple(movie["movie_id"] for movie in said["movies"])
    counted = range(min(warm, len(sender.sent_at)), len(sender.sent_at))
    latencies = [first[number] - sender.sent_at[number] for number in counted if number in first]
    return Answered(
        sender.rate,
        len(sender.sent_at),
        np.array(latencies),
        len(sender.sent_at) - len(first),
        repeated,
        movies,
    )

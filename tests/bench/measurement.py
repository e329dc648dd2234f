"""One run of one contender: a backlog drained for its maximum, then events at steady rates for their latency."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from confluent_kafka import KafkaError

from ops.local.process import ChildProcess
from schemas.errors import MarqueeError
from tests.bench.contenders import Contender
from tests.bench.deployment import Deployment, Offsets
from tests.bench.live import Answered, live
from tests.bench.statistics import Seconds, Window, between, quantile_ms, steady_window
from tests.bench.workload import Draft, endless

SLOW_RATE = 100.0  # events/s of the first latency
SHARES = {"half": 0.5, "ninety": 0.9}  # of its own maximum, those of the others
_LOOK_SECONDS = 0.2
_LOOKS_QUIET = 3
_STALLED_SECONDS = 60.0
_STOP_SECONDS = 20.0
_SHORTEST_SECONDS = 0.25
_READ_BATCH, _READ_SECONDS = 10_000, 0.2
KEPT_LISTS = 100


@dataclass(frozen=True)
class Latency:
    """Milliseconds from an event's timestamp to its committed result in a reader's hands; None where none came."""

    rate: float
    p50_ms: float | None
    p99_ms: float | None
    sent: int
    unanswered: int


@dataclass(frozen=True)
class Measured:
    """What one run gave. CPU and memory are those of the contender's own processes, without Kafka and Milvus."""

    contender: str
    title: str
    delivery: str
    events: int
    events_per_second: float
    cpu_us_per_event: float
    peak_mb: float
    latencies: dict[str, Latency] = field(default_factory=dict)
    lists: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line of progress."""
        latencies = [
            f"{each.rate:,.0f}/s p50 {_ms(each.p50_ms)} p99 {_ms(each.p99_ms)}"
            for each in self.latencies.values()
        ]
        speed = f"{self.contender} {self.events_per_second:,.0f}/s, {self.cpu_us_per_event:.1f} µs an event"
        return "; ".join([speed, f"{self.peak_mb:,.0f} MB", *latencies])


@dataclass(frozen=True)
class Pace:
    """How long the parts of a run take, in seconds: the drain, 100/s (where a second has few events), the other rates.

    No latencies where those are 0. `patience` is for results that are late.
    """

    drain: float
    slow: float = 0.0
    steady: float = 0.0
    patience: float = 8.0


def measure(
    contender: Contender,
    deployment: Deployment,
    pool: Sequence[Draft],
    pace: Pace,
    folder: Path,
    *,
    expected: float,
    workers: int = 1,
) -> Measured:
    """Run it once; `expected` events/s set the size of the backlog.

    Raises:
        MarqueeError: it ended, made no progress, or did not answer every event.
    """
    events = int(expected * pace.drain)
    begin = deployment.publish(endless(pool, contender.distinct), events)
    results = deployment.settings.names.recommendations
    before = deployment.ends(results)
    children = start(contender, deployment, begin, folder, workers)
    usage = Usage(lambda: [child.pid for child in children if child.pid is not None])
    usage.start()
    try:
        moments = _drain(deployment, before, events, children)
        window = _window(contender, moments)
        latencies = _latencies(contender, deployment, pool, pace, window.events_per_second)
    finally:
        usage.stop()
        stop(children)
    cpu = between(usage.cpu, window.begin, window.end)
    return Measured(
        contender.name,
        contender.title,
        contender.delivery,
        events,
        window.events_per_second,
        1e6 * cpu / window.events,
        usage.peak_bytes / 2**20,
        {name: _latency(answered) for name, answered in latencies.items()},
        latencies["slow"].movies if latencies and contender.answers else {},
    )


def start(
    contender: Contender, deployment: Deployment, begin: Offsets, folder: Path, workers: int = 1
) -> list[ChildProcess]:
    """Start it, to read from these offsets on."""
    group = contender.group(deployment)
    deployment.position(group, begin)
    children = [
        ChildProcess(
            f"{contender.name}-{number}",
            contender.command(deployment, group),
            log=folder / f"{contender.name}-{number}.log",
            environment=deployment.environment
            | dict(contender.variables)
            | {"MARQUEE_WORKER__ID": f"bench-{number}"},
        )
        for number in range(1, workers + 1)
    ]
    for child in children:
        child.start()
    return children


def stop(children: Sequence[ChildProcess]) -> None:
    """End it in order, so that its group is empty for the next."""
    for child in children:
        child.terminate()
    for child in children:
        child.stop(_STOP_SECONDS)


def _drain(deployment: Deployment, before: Offsets, events: int, children: Sequence[ChildProcess]) -> Seconds:
    """When each result was written, once all are there; meanwhile only the ends of the topic are looked at."""
    topic = deployment.settings.names.recommendations
    seen, quiet, moved_at = sum(before.values()), 0, time.monotonic()
    while True:
        time.sleep(_LOOK_SECONDS)
        end = sum(deployment.ends(topic).values())
        quiet = quiet + 1 if end == seen else 0
        if end > seen:
            seen, moved_at = end, time.monotonic()
        # The ends count markers of transactions too, so enough of them are not yet all results.
        if quiet >= _LOOKS_QUIET and seen - sum(before.values()) >= events:
            moments = _moments(deployment, before)
            if len(moments) >= events:
                return moments
            quiet = 0
        for child in children:
            if not child.running:
                raise MarqueeError(f"{child.name} ended with code {child.returncode}.{child.log_tail()}")
        if time.monotonic() - moved_at > _STALLED_SECONDS:
            raise MarqueeError(f"{children[0].name} makes no progress.{children[0].log_tail()}")


def _window(contender: Contender, moments: Seconds) -> Window:
    """The steady part; one who writes everything at once has none, and no rate."""
    try:
        window = steady_window(moments)
    except ValueError as error:
        raise MarqueeError(f"{contender.name}: {error}") from error
    if window.end - window.begin < _SHORTEST_SECONDS:
        raise MarqueeError(
            f"{contender.name} wrote its results at once, which gives no rate; lay out more events"
        )
    return window


def _moments(deployment: Deployment, before: Offsets) -> Seconds:
    """When the broker wrote each committed result since, in seconds since 1970."""
    reader = deployment.committed_reader(before)
    open_partitions = set(before)
    moments: list[float] = []
    while open_partitions:
        for message in reader.consume(_READ_BATCH, _READ_SECONDS):
            error = message.error()
            if error is None:
                moments.append(message.timestamp()[1] / 1_000)
            elif error.code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(message.partition() or 0)
    reader.close()
    return np.array(moments)


def _latencies(
    contender: Contender, deployment: Deployment, pool: Sequence[Draft], pace: Pace, maximum: float
) -> dict[str, Answered]:
    if not pace.slow:
        return {}
    profiles = pool[: contender.distinct]
    rates = {"slow": min(SLOW_RATE, maximum / 2)} | {name: share * maximum for name, share in SHARES.items()}
    return {
        name: live(
            deployment,
            profiles,
            rate,
            pace.slow if name == "slow" else pace.steady,
            patience_s=pace.patience,
            keep=KEPT_LISTS,
        )
        for name, rate in rates.items()
    }


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} ms"


def _latency(answered: Answered) -> Latency:
    return Latency(
        answered.rate,
        quantile_ms(answered.latencies, 0.5),
        quantile_ms(answered.latencies, 0.99),
        answered.sent,
        answered.unanswered,
    )


_EVERY_SECONDS = 0.1

Sample = tuple[float, float]  # seconds since 1970, CPU seconds


class Usage(threading.Thread):
    """Samples some process trees, servers not among them, until it is stopped."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        super().__init__(name="usage", daemon=True)
        self._pids = pids
        self._stopping = threading.Event()
        self.cpu: list[Sample] = []
        self.peak_bytes = 0

    def run(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            seconds, resident = 0.0, 0
            for process in self._tree():
                with suppress(psutil.Error), process.oneshot():
                    times = process.cpu_times()
                    seconds += times.user + times.system
                    resident += process.memory_info().rss
            self.cpu.append((time.time(), seconds))
            self.peak_bytes = max(self.peak_bytes, resident)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join()

    def _tree(self) -> Iterator[psutil.Process]:
        for pid in self._pids():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                yield process
                yield from process.children(recursive=True)

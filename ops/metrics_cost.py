"""What measuring costs the worker: `python -m ops.metrics_cost`. CPU time of this process, with nothing else in it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest

from worker.batch import Answer, Headers, Record
from worker.latest import Latest
from worker.metrics import Metrics
from worker.report import report_dead_letters
from worker.trend import LOOK_SECONDS, Trend

BATCH = 256
ROUNDS = 300
SCRAPE_SECONDS = 5.0
STAGES = ("decode", "embed", "search", "encode")


@dataclass(frozen=True)
class _Event:
    """As a polled message, whose timestamp is a tuple that is there already."""

    at: tuple[int, int] = (1, 1_700_000_000_000)

    def topic(self) -> str:
        return "profiles"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return b"{}"

    def timestamp(self) -> tuple[int, int]:
        return self.at

    def headers(self) -> Headers | None:
        return None


def microseconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """CPU time of one call, the least of five series."""
    least = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(rounds):
            work()
        least = min(least, time.process_time() - began)
    return least / rounds * 1e6


def main() -> None:
    """Print each cost, and what they come to together for 1,000 events a second."""
    registry = CollectorRegistry()
    metrics, latest, trend = Metrics(registry), Latest(), Trend(registry)
    answers = [Answer(_Event(), Record("recommendations", 0, None, b"{}", []))] * BATCH

    def batch() -> None:
        metrics.batch("size", BATCH)
        for stage in STAGES:
            with metrics.stage(stage):
                pass
        metrics.unknown(1, 1)
        metrics.transaction("committed")
        metrics.committed(answers, 0.1, 0.05)
        latest.committed(answers)
        report_dead_letters(answers)

    event = microseconds(batch) / BATCH
    for partition in range(12):
        metrics.lag(partition, 7)
    look = microseconds(lambda: trend.look(time.time()), 50)
    scrape = microseconds(lambda: generate_latest(registry), 50)
    standing = look / LOOK_SECONDS + scrape / SCRAPE_SECONDS
    print(f"counting             {event:6.2f} µs an event, in batches of {BATCH}")  # noqa: T201
    print(f"a look for the page  {look / 1e3:6.2f} ms, every {LOOK_SECONDS:g} s")  # noqa: T201
    print(f"a scrape             {scrape / 1e3:6.2f} ms, every {SCRAPE_SECONDS:g} s")  # noqa: T201
    print(f"standing             {standing / 1e4:6.3f} % of a core")  # noqa: T201


if __name__ == "__main__":
    main()

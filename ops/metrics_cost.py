"""What measuring costs the worker: `python -m ops.metrics_cost [http://127.0.0.1:9464/metrics]`.

The cost is CPU time of this process, with nothing else in it; with the address of a worker that has worked for a while, it is
also told as a share of all the CPU time that this worker has taken.
"""

# ruff: noqa: T201

import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from schemas.headers import Headers
from worker.events.batch import Answer, Record
from worker.events.report import report_dead_letters
from worker.monitoring.http import Health
from worker.monitoring.latest import Latest
from worker.monitoring.metrics import Metrics
from worker.monitoring.statistics import Statistics
from worker.monitoring.trend import UNWATCHED_SECONDS, Trend

BATCH = 256
ROUNDS = 300
SCRAPE_SECONDS = 5.0
REPORT_SECONDS = 2.0  # `statistics.interval.ms` of the worker's consumer
PARTITIONS = 12
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


@dataclass(frozen=True)
class Cost:
    """CPU time in microseconds."""

    batch: float  # with one event
    event: float  # of each further event
    look: float
    scrape: float
    report: float

    def share(self, batches: float, events: float, alive_s: float, cpu_s: float) -> float:
        """Of a worker's CPU time, where Prometheus scrapes it and a page is kept."""
        standing = self.look / UNWATCHED_SECONDS + self.scrape / SCRAPE_SECONDS + self.report / REPORT_SECONDS
        return (batches * self.batch + events * self.event + alive_s * standing) / 1e6 / cpu_s


def measured() -> Cost:
    """What is done for one transaction of one batch, and between."""
    registry = CollectorRegistry()
    metrics, latest, trend = Metrics(registry), Latest(), Trend(registry)

    def batch(size: int) -> float:
        answers = [Answer(_Event(), Record("recommendations", 0, None, b"{}", []))] * size

        def count() -> None:
            metrics.batch("size", size)
            for stage in STAGES:
                with metrics.stage(stage):
                    pass
            metrics.search.unknown(1, 1)
            metrics.search.milvus_answers()
            metrics.search.cache(1, 1, 1)
            metrics.transaction("committed")
            metrics.committed(answers, 0.1, 0.05)
            latest.committed(answers)
            report_dead_letters(answers)

        return microseconds(count)

    one, many = batch(1), batch(BATCH)
    report = reporting(metrics)
    look = microseconds(lambda: trend.look(time.time()), 50)
    scrape = microseconds(lambda: generate_latest(registry), 50)
    return Cost(one, (many - one) / (BATCH - 1), look, scrape, report)


def reporting(metrics: Metrics) -> float:
    """CPU microseconds of one report of the Kafka client: librdkafka writes it, and it is read here."""
    statistics, reports = Statistics("profiles", Health(), metrics, lambda: False), 0

    def read(report: str) -> None:
        nonlocal reports
        reports += 1
        statistics.read(report)

    # Its built-in broker, on which nothing else happens.
    options = {"test.mock.num.brokers": 1, "bootstrap.servers": "-", "group.id": "cost", "log_level": 0}
    consumer = Consumer(options | {"stats_cb": read, "statistics.interval.ms": 10})
    positions = [TopicPartition("profiles", partition, 0) for partition in range(PARTITIONS)]
    consumer.assign(positions)
    metrics.lag.assigned(positions)
    consumer.poll(1.0)
    began, before = time.process_time(), reports
    for _ in range(20):
        consumer.poll(0.1)
    spent = time.process_time() - began
    consumer.close()
    return spent / (reports - before) * 1e6


def samples(address: str) -> dict[str, float]:
    """Sums of a worker's samples, by name."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    summed: dict[str, float] = {}
    for sample in (sample for family in families for sample in family.samples):
        summed[sample.name] = summed.get(sample.name, 0.0) + sample.value
    return summed


def main(arguments: list[str]) -> None:
    """Print each cost, and the share where a worker is named."""
    cost = measured()
    print(f"a batch              {cost.batch:8.1f} µs, with one event")
    print(f"each further event   {cost.event:8.2f} µs")
    print(f"a look for the page  {cost.look:8.0f} µs, every {UNWATCHED_SECONDS:g} s, unless watched")
    print(f"a scrape             {cost.scrape:8.0f} µs, every {SCRAPE_SECONDS:g} s")
    print(f"a client's report    {cost.report:8.0f} µs, every {REPORT_SECONDS:g} s")
    for address in arguments:
        seen = samples(address)
        events, batches = seen["marquee_batch_events_sum"], seen["marquee_batch_events_count"]
        cpu, alive = seen["process_cpu_seconds_total"], time.time() - seen["process_start_time_seconds"]
        share = cost.share(batches, events, alive, cpu)
        print(
            f"{share:.2%} of the {cpu:.0f} s of CPU that {events:,.0f} events in {batches:,.0f} batches took"
        )


if __name__ == "__main__":
    main(sys.argv[1:])

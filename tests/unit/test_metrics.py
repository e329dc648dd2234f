"""Metrics: counts from a first value of zero on."""

from datetime import timedelta

import numpy as np
import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TopicPartition
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from schemas.dead_letter import Reason
from schemas.release import ReleaseRecord, ReleaseState, now
from tests.unit.events import PolledEvent
from worker.events import Answer, Record
from worker.monitoring.declarations import BatchHistogram
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.monitoring.metrics import Metrics
from worker.monitoring.statistics import LagMetrics

BUCKETS = (0.005, 0.1, 1, 10)


def answer(reason: Reason | None = None) -> Answer:
    return Answer(PolledEvent(), Record("recommendations", 3, None, b"{}", []), reason)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_batch_histogram_exports_as_the_library_s_own() -> None:
    # Given values on, between and beyond the bounds
    values = [0.0, 0.005, 0.0050001, 0.1, 0.5, 1.0, 10.0, 11.0, -3.0]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batches = BatchHistogram("x_seconds", "Of a test.", buckets=BUCKETS, registry=ours)
    single = Histogram("x_seconds", "Of a test.", buckets=BUCKETS, registry=theirs)

    # When
    batches.observe(np.array(values[:4]))
    batches.observe(np.array(values[4:]))
    for value in values:
        single.observe(value)

    # Then: the text differs only in the time at which each was made
    def lines(registry: CollectorRegistry) -> list[str]:
        return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]

    assert lines(ours) == lines(theirs)


def test_a_name_is_taken_once(registry: CollectorRegistry) -> None:
    BatchHistogram("x_seconds", "Of a test.", buckets=BUCKETS, registry=registry)
    with pytest.raises(ValueError, match="x_seconds"):
        Histogram("x_seconds", "Of a test.", registry=registry)


def test_known_label_values_are_exported_from_the_start(registry: CollectorRegistry) -> None:
    Metrics(registry)

    for reason in Reason:
        assert registry.get_sample_value("marquee_dead_letters_total", {"reason": reason}) == 0
    for outcome in ("committed", "undone", "refused"):
        assert registry.get_sample_value("marquee_transactions_total", {"outcome": outcome}) == 0
    assert registry.get_sample_value("marquee_stage_seconds_count", {"stage": "commit"}) == 0


def test_committed_events_are_counted_by_outcome_and_reason(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)

    metrics.committed([answer(), answer(Reason.NOT_JSON), answer()], seconds=0.5, commit_seconds=0.2)

    assert registry.get_sample_value("marquee_events_total", {"outcome": "recommendation"}) == 2
    assert registry.get_sample_value("marquee_dead_letters_total", {"reason": "not_json"}) == 1
    assert registry.get_sample_value("marquee_event_latency_seconds_count") == 3
    assert registry.get_sample_value("marquee_stage_seconds_sum", {"stage": "publish"}) == 0.3
    assert registry.get_sample_value("marquee_stage_seconds_sum", {"stage": "commit"}) == 0.2


def test_the_fallback_is_in_use_until_milvus_answers(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)

    metrics.fell_back()
    assert registry.get_sample_value("marquee_exact_fallback_in_use") == 1

    metrics.exact_in_use.set(0)
    assert registry.get_sample_value("marquee_exact_fallback_in_use") == 0
    assert registry.get_sample_value("marquee_exact_fallbacks_total") == 1


def test_one_release_serves_at_a_time(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)

    metrics.serving("a", "marquee_a_1", 1, "cpu")
    metrics.serving("b", "marquee_b_1", 2, "cpu")

    since = "marquee_active_release_timestamp_seconds"
    assert registry.get_sample_value(since, {"release": "a", "collection": "marquee_a_1"}) is None
    assert registry.get_sample_value(since, {"release": "b", "collection": "marquee_b_1"}) is not None
    assert registry.get_sample_value("marquee_release_swaps_total") == 2


def broker(node: int, state: str, *, disconnects: int = 0) -> dict[str, object]:
    rtt = {"cnt": 3, "p99": 5_000}
    return {"nodeid": node, "state": state, "rtt": rtt, "disconnects": disconnects, "req_timeouts": 0}


def statistics(rx_bytes: int, **brokers: dict[str, object]) -> dict[str, object]:
    # librdkafka reports the one queue that they share for each.
    partitions = {"0": {"fetchq_cnt": 4}, "1": {"fetchq_cnt": 4}}
    return {"rx_bytes": rx_bytes, "brokers": brokers, "topics": {"profiles": {"partitions": partitions}}}


def test_totals_of_the_client_only_grow(registry: CollectorRegistry) -> None:
    kafka = Metrics(registry).kafka

    # Given a report, and then one without a broker that the client has forgotten
    kafka.read(statistics(100, a=broker(1, "UP"), b=broker(2, "DOWN", disconnects=2)), "profiles")
    kafka.read(statistics(150, a=broker(1, "UP"), bootstrap=broker(-1, "UP")), "profiles")

    assert registry.get_sample_value("marquee_kafka_received_bytes_total") == 150
    assert registry.get_sample_value("marquee_kafka_disconnects_total") == 2
    assert registry.get_sample_value("marquee_kafka_brokers_up") == 1
    assert registry.get_sample_value("marquee_kafka_prefetched_events") == 4
    assert registry.get_sample_value("marquee_kafka_round_trip_seconds", {"broker": "1"}) == 0.005


def report(number: int, *, end: int, polled: int = -1001) -> dict[str, int]:
    """A partition in the client's statistics."""
    offsets = {"lo_offset": 0 if end >= 0 else -1001, "ls_offset": end, "app_offset": polled}
    return {"partition": number, **offsets}


def read(lag: LagMetrics, *reports: dict[str, int], in_hand: bool = False) -> None:
    lag.read({str(one["partition"]): one for one in reports}, in_hand=in_hand)


@pytest.fixture
def lag(registry: CollectorRegistry) -> LagMetrics:
    """The lag of a worker that has partition 0 from offset 3, and 1 from its beginning."""
    lag = LagMetrics(registry)
    lag.assigned([TopicPartition("profiles", 0, 3), TopicPartition("profiles", 1, OFFSET_BEGINNING)])
    return lag


def waiting(registry: CollectorRegistry) -> dict[str, float]:
    return {
        sample.labels["partition"]: sample.value for metric in registry.collect() for sample in metric.samples
    }


def test_events_wait_from_before_the_first_poll_until_they_are_committed(
    registry: CollectorRegistry, lag: LagMetrics
) -> None:
    read(lag, report(0, end=-1001), report(1, end=-1001))  # no fetch was answered yet
    assert waiting(registry) == {}

    read(lag, report(0, end=10), report(1, end=4))
    assert waiting(registry) == {"0": 7, "1": 4}

    # When all are polled, they still wait for their answer
    polled = report(0, end=10, polled=10), report(1, end=4, polled=4)
    read(lag, *polled, in_hand=True)
    assert waiting(registry) == {"0": 7, "1": 4}

    lag.committed([TopicPartition("profiles", 0, 8)])
    read(lag, *polled, in_hand=True)
    assert waiting(registry) == {"0": 2, "1": 4}


def test_transaction_markers_are_not_counted_as_events(registry: CollectorRegistry, lag: LagMetrics) -> None:
    """Given an answered event with a mark behind it in partition 0, and partition 1 with nothing but marks."""
    lag.committed([TopicPartition("profiles", 0, 4)])

    read(lag, report(0, end=5, polled=5), report(1, end=2, polled=2))

    assert waiting(registry) == {"0": 0, "1": 0}


def test_a_revoked_partition_is_not_exported(registry: CollectorRegistry, lag: LagMetrics) -> None:
    reports = report(0, end=10), report(1, end=4)
    read(lag, *reports)

    lag.gone([TopicPartition("profiles", 1)])
    lag.committed([TopicPartition("profiles", 1, 4)])  # a late one
    read(lag, *reports)

    assert waiting(registry) == {"0": 7}


def test_after_lost_offsets_the_lag_counts_from_the_end(registry: CollectorRegistry, lag: LagMetrics) -> None:
    lag.assigned([TopicPartition("profiles", 0, OFFSET_END)])

    read(lag, report(0, end=10))

    assert waiting(registry) == {"0": 0}


def indexing(state: ReleaseState, progress: float) -> ReleaseRecord:
    began = now() - timedelta(seconds=30)
    return ReleaseRecord(release="r", state=state, progress=progress, indexing_at=began, ready_at=now())


def test_indexing_has_progress_and_then_a_duration(registry: CollectorRegistry) -> None:
    metrics = IndexerMetrics(registry)
    progress = "marquee_indexing_progress_ratio"

    metrics.begun()
    metrics.published([indexing(ReleaseState.INDEXING, 0.5)])
    assert registry.get_sample_value(progress, {"release": "r"}) == 0.5
    assert registry.get_sample_value("marquee_indexer_busy") == 1

    metrics.published([indexing(ReleaseState.READY, 1.0)])
    metrics.ended()
    assert registry.get_sample_value(progress, {"release": "r"}) is None
    assert registry.get_sample_value("marquee_indexer_busy") == 0
    assert registry.get_sample_value("marquee_indexing_seconds_count") == 1
    assert registry.get_sample_value("marquee_indexing_seconds_sum") == pytest.approx(30, abs=1)

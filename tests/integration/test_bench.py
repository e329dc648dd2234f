"""One contender of the benchmark, from an empty prefix to its figures, on real Kafka and Milvus Lite."""

from pathlib import Path

from ops.local.kafka import LocalKafka
from ops.local.milvus import MilvusLite
from tests.bench.contenders import MARQUEE
from tests.bench.deployment import Servers, deploy
from tests.bench.job import Reference
from tests.bench.measurement import Pace, measure
from tests.bench.workload import bench_store, drafts

MOVIES = 300


def test_marquee_is_measured_and_answers_as_exact_search_does(
    kafka: LocalKafka, milvus_lite: MilvusLite, tmp_path: Path
) -> None:
    store = bench_store(tmp_path, MOVIES)
    deployment = deploy(Servers(kafka, milvus_lite), tmp_path, store, prefix="bench-test.", partitions=2)
    pool = drafts(range(1, 100), range(1, MOVIES + 1), 1_000)

    run = measure(
        MARQUEE,
        deployment,
        pool,
        Pace(drain=3.0, slow=1.0, steady=0.5, patience=120.0),
        tmp_path,
        expected=4_000.0,
    )

    assert run.events == 12_000
    assert run.events_per_second > 0
    assert run.cpu_us_per_event > 0
    assert run.peak_mb > 0
    slow = run.latencies["slow"]
    assert slow.unanswered == 0
    assert slow.p50_ms is not None
    assert slow.p99_ms is not None
    assert slow.p50_ms <= slow.p99_ms
    assert run.lists
    assert Reference(deployment, pool, tmp_path).agreement(run.lists) == 1.0

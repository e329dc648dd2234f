"""Records of a mebibyte, compressed 20:1: a worker holds no more of them than docs/settings.md says."""

import os
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ops.reference.memory import COMPRESSION, bound
from schemas import kafka as clients
from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for
from worker.events import MAX_EVENT_BYTES

MEBIBYTE = 2**20
RECORDS = 600
CODECS = ("gzip", "lz4", "zstd")
EVENTS = {  # outcome by how its record begins and how large it is
    (b'{"user_id":%d,"padding":"', MEBIBYTE): "recommendation",
    (b'{"user_id":-%d,"padding":"', MEBIBYTE + 1): "dead_letter",
    (b'{"user_id":%d,"padding":"', MAX_EVENT_BYTES + 1): "dead_letter",
}


def padded(head: bytes, size: int) -> bytes:
    """A JSON object of this size, of which a twentieth is left once it is compressed."""
    noise = os.urandom(size // COMPRESSION // 2).hex().encode()
    return head + noise + b" " * (size - len(head) - len(noise) - 2) + b'"}'


def publish(settings: Settings, count: int) -> None:
    """Publish `count` records, in turn of each kind, by one producer for each codec, in batches of up to twenty."""
    own = {"compression.level": 1, "batch.size": 20 * MEBIBYTE, "linger.ms": 50}
    producers = [
        Producer(clients.producer(settings.kafka, own | {"compression.type": codec})) for codec in CODECS
    ]
    kinds = list(EVENTS)
    for number in range(count):
        head, size = kinds[number % len(kinds)]
        producer = producers[number // len(kinds) % len(CODECS)]
        producer.produce(
            settings.names.profiles, padded(head % (number + 1), size), partition=number // 60 % 4
        )
        if number % 60 == 59:
            assert all(producer.flush(60) == 0 for producer in producers)
    assert all(producer.flush(60) == 0 for producer in producers)


def memory(worker: Process, name: str) -> int:
    """Bytes that /proc tells of the process: VmRSS now, VmHWM at most until now."""
    lines = Path(f"/proc/{worker.child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith(f"{name}:"))


def worker_process(settings: Settings, folder: Path) -> Process:
    return Process(
        "worker", settings, folder, MARQUEE_WORKER__BATCH_EVENTS="64", MARQUEE_WORKER__CACHED_LISTS="0"
    )


def ended(worker: Process) -> float:
    return sum(worker.metric(f'marquee_events_total{{outcome="{what}"}}') for what in set(EVENTS.values()))


def test_a_worker_holds_no_more_than_its_bound(
    lite_settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    worker_settings = lite_settings.worker.model_copy(update={"batch_events": 64, "cached_lists": 0})
    settings = lite_settings.model_copy(update={"store": fusion_store, "worker": worker_settings})
    admin = AdminClient(clients.admin(settings.kafka))
    topic = NewTopic(settings.names.profiles, 4, 1, config={"max.message.bytes": str(2 * MEBIBYTE)})
    admin.create_topics([topic])[settings.names.profiles].result()
    activate(settings)
    # Given a worker that has answered what there was
    publish(settings, len(EVENTS))
    with worker_process(settings, tmp_path) as worker:
        wait_for("the first events", lambda: ended(worker) >= len(EVENTS))
        at_rest = memory(worker, "VmRSS")
        assert worker.stop() == 0
    # When so many wait that they would fill every queue and every batch
    publish(settings, RECORDS)
    with worker_process(settings, tmp_path) as worker:
        wait_for("every event", lambda: ended(worker) >= RECORDS, 120)
        held = memory(worker, "VmHWM") - at_rest
        dead = worker.metric('marquee_events_total{outcome="dead_letter"}')
    # Then they end as ever, and were never held all at once
    assert dead == RECORDS * 2 / 3
    allowed = sum(bound(settings).values())
    assert held <= allowed, f"{held / MEBIBYTE:.0f} MiB where {allowed / MEBIBYTE:.0f} are allowed"

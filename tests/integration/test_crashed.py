"""Events that end the process, and operators that do: real workers on a real broker, started again as a supervisor does."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from producer.endings import DeadLetter, Result
from schemas import kafka
from schemas.settings import Settings
from tests.integration.test_undecodable import endings_of, event, one_partition, publish_batch
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for
from worker.stream.children import Rehearsal
from worker.stream.crashes import ENDS, ends_of, mark_of

GUILTY = json.dumps({"user_id": 4, "event_id": "guilty"}).encode()
# The smallest that the settings take: the group waits so long for each worker that died.
SESSION_MS = "16000"
# The effect of a fault in a native library, in the worker and in its child processes.
SABOTAGE = """
import importlib, os, resource
import worker.events

module = importlib.import_module("worker.events.decode")
whole = module.decode

def decode(value):
    if value and b"guilty" in value:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        DISASTER
    return whole(value)

module.decode = worker.events.decode = decode
"""


@pytest.fixture
def lite_settings(lite_settings: Settings, fusion_store: str) -> Settings:
    return lite_settings.model_copy(update={"store": fusion_store})


def worker(settings: Settings, folder: Path, **variables: Any) -> Process:
    return Process(
        "worker",
        settings,
        folder,
        MARQUEE_WORKER__ID="one",
        MARQUEE_WORKER__SESSION_TIMEOUT_MS=SESSION_MS,
        **variables,
    )


def committed(settings: Settings, partitions: int) -> list[TopicPartition]:
    consumer = Consumer(kafka.reader(settings.kafka, settings.names.worker_group))
    try:
        places = [TopicPartition(settings.names.profiles, number) for number in range(partitions)]
        return consumer.committed(places, 30.0)
    finally:
        consumer.close()


def sabotaged(folder: Path, disaster: str = "os.abort()") -> str:
    """The path of packages with which every process that decodes the guilty event does this."""
    (folder / "sitecustomize.py").write_text(SABOTAGE.replace("DISASTER", disaster))
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


def commit(settings: Settings, ends: int) -> None:
    """Leave the marks of workers that ended at offset 0 of two partitions."""
    consumer = Consumer(kafka.reader(settings.kafka, settings.names.worker_group))
    try:
        topic = settings.names.profiles
        places = [TopicPartition(topic, number, 0, mark_of(ends, 0)) for number in range(2)]
        consumer.commit(offsets=places, asynchronous=False)
    finally:
        consumer.close()


def ends(settings: Settings, partitions: int) -> list[int]:
    return [ends_of(place.metadata, place.offset) for place in committed(settings, partitions)]


@pytest.mark.timeout(300)
def test_an_event_that_takes_all_memory_is_found_and_no_other(
    lite_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an event at which a process wants far more memory than a release takes
    profiles = lite_settings.names.profiles
    one_partition(lite_settings, profiles)
    activate(lite_settings)
    publish_batch(lite_settings, profiles, [event(1), GUILTY, b"{", event(2)])
    monkeypatch.setenv("PYTHONPATH", sabotaged(tmp_path, "hoard = bytearray(2 << 30)"))
    # When the first three events are tried
    trying = Rehearsal(lite_settings, [TopicPartition(profiles, 0, 0)], 3)
    trying.wait(240.0)
    # Then
    assert (trying.done, trying.problem) == (True, None)
    assert trying.progress.condemned == {0: {1: "ended by signal 6"}}
    assert trying.progress.answered == 2


@pytest.mark.timeout(400)
def test_an_event_that_ends_every_process_becomes_a_dead_letter(
    lite_settings: Settings, tmp_path: Path
) -> None:
    # Given events around one at which every process ends that decodes it
    profiles = lite_settings.names.profiles
    one_partition(lite_settings, profiles)
    activate(lite_settings)
    path = sabotaged(tmp_path)
    publish_batch(lite_settings, profiles, [event(1), event(2), event(3), GUILTY, event(5), event(6)])
    # When a supervisor starts one worker after the other, each of which ends
    for number in range(ENDS):
        with worker(lite_settings, tmp_path, PYTHONPATH=path) as ending:
            assert ending.child.wait(120) == -signal.SIGABRT
        assert ends(lite_settings, 1) == [number + 1]
    # Then the next one lives, and every event ends once, in order, that one as a dead letter
    with worker(lite_settings, tmp_path, PYTHONPATH=path) as living:
        endings_of(lite_settings, 6)
        publish_batch(lite_settings, profiles, [event(7)])
        found = endings_of(lite_settings, 7)
        assert [o.source[1] for o in found if isinstance(o, DeadLetter)] == [3]
        assert [o.recommendation.user_id for o in found if isinstance(o, Result)] == [1, 2, 3, 5, 6, 7]
        (letter,) = [o for o in found if isinstance(o, DeadLetter)]
        assert (letter.reason, letter.value) == ("crashed", GUILTY)
        assert "signal 6" in letter.error
        living.wait_ready()
        assert living.metric("marquee_rehearsals_total") == 1
        assert living.metric('marquee_dead_letters_total{reason="crashed"}') == 1
        assert living.stop() == 0
    assert ends(lite_settings, 1) == [0]


@pytest.mark.timeout(300)
def test_workers_that_an_operator_kills_make_no_dead_letter(lite_settings: Settings, tmp_path: Path) -> None:
    activate(lite_settings)
    # Given a worker that was stopped in good order, which does not count
    with worker(lite_settings, tmp_path) as stopped:
        wait_for("its marks", lambda: ends(lite_settings, 2) == [1, 1])
        assert stopped.stop() == 0
    assert ends(lite_settings, 2) == [0, 0]
    # And one that is killed, after four others at the same offset, while events are there
    commit(lite_settings, 4)
    with worker(lite_settings, tmp_path) as killed:
        wait_for("its marks", lambda: ends(lite_settings, 2) == [5, 5])
        killed.kill()
    publish_batch(lite_settings, lite_settings.names.profiles, [event(user) for user in range(1, 9)])
    # When the next one begins
    with worker(lite_settings, tmp_path) as living:
        found = endings_of(lite_settings, 8)
        # Then the events were tried before, and all are answered
        assert [o.recommendation.user_id for o in found if isinstance(o, Result)] == list(range(1, 9))
        assert len(found) == 8
        assert "a child process tried 8 events; crashed: none" in living.output
        assert living.stop() == 0
    assert ends(lite_settings, 2) == [0, 0]

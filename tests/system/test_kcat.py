"""Debian's kcat, a client that knows nothing of Marquee, against a worker on real Kafka and real Milvus."""

import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for

pytestmark = pytest.mark.system

# One line a record; the value is JSON, so it holds no line break.
FORMAT = "%k\t%p\t%s\n"


def _kcat(settings: Settings, *arguments: str, value: str = "") -> str:
    command = ["kcat", "-q", "-b", settings.kafka.bootstrap_servers, *arguments]
    return subprocess.run(command, input=value, capture_output=True, text=True, timeout=60, check=True).stdout


def _publish(settings: Settings, key: str, value: str) -> None:
    _kcat(settings, "-P", "-t", settings.names.profiles, "-k", key, value=value)


def _read(settings: Settings, topic: str, key: str) -> list[tuple[int, str]]:
    """Partition and value of each committed record with this key."""
    options = ("-C", "-t", topic, "-o", "beginning", "-e", "-X", "isolation.level=read_committed")
    records = [line.split("\t", 2) for line in _kcat(settings, *options, "-f", FORMAT).splitlines()]
    return [(int(partition), value) for found, partition, value in records if found == key]


@pytest.fixture
def served(lite_settings: Settings, fusion_store: str) -> Settings:
    """A deployment whose release is active."""
    settings = lite_settings.model_copy(update={"store": fusion_store})
    activate(settings)
    return settings


def test_a_profile_from_kcat_is_answered_to_kcat(served: Settings, tmp_path: Path) -> None:
    # Given
    event = {"event_id": uuid.uuid4().hex, "user_id": 42, "gender": "M", "age": 35, "k": 3, "new": True}
    with Process("worker", served, tmp_path) as worker:
        worker.wait_ready(120)

        # When
        _publish(served, "42", json.dumps(event))

        # Then
        read = wait_for("the answer", lambda: _read(served, served.names.recommendations, "42"))
        assert len(read) == 1
        partition, value = read[0]
        answer: dict[str, Any] = json.loads(value)
        assert answer["event_id"] == event["event_id"]
        assert answer["user_id"] == 42
        assert [movie["rank"] for movie in answer["movies"]] == [1, 2, 3]
        assert answer["source"] == {"topic": served.names.profiles, "partition": partition, "offset": 0}
        assert worker.stop() == 0


def test_what_is_no_event_comes_back_as_it_was(served: Settings, tmp_path: Path) -> None:
    with Process("worker", served, tmp_path) as worker:
        worker.wait_ready(120)

        _publish(served, "bad", '{"age": 300}')

        read = wait_for("the dead letter", lambda: _read(served, served.names.dead_letters, "bad"))
        assert [value for _, value in read] == ['{"age": 300}']
        assert _read(served, served.names.recommendations, "bad") == []

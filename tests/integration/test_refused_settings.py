"""Settings that a real broker refuses: each ends its process with exit code 2 and the setting's name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from schemas.errors import SettingsError
from schemas.settings import Settings
from tests.testbed.processes import Process
from worker.kafka.topics import ensure_topics
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.process import Stopping
from worker.serving import Answerer
from worker.stream.loop import Stream

TIMEOUT = 30.0
REFUSED = {
    "a transaction longer than brokers allow": (
        {"MARQUEE_WORKER__SESSION_TIMEOUT_MS": "1200000", "MARQUEE_WORKER__MAX_POLL_INTERVAL_MS": "1200000"},
        "MARQUEE_WORKER__SESSION_TIMEOUT_MS, which transactions follow",
    ),
    "a session shorter than brokers allow": (
        {"MARQUEE_KAFKA__CLIENT": '{"session.timeout.ms": 5000}'},
        "MARQUEE_WORKER__SESSION_TIMEOUT_MS and MARQUEE_OUTCOMES__SESSION_TIMEOUT_MS",
    ),
    "an option that no transactional producer takes": (
        {"MARQUEE_KAFKA__CLIENT": '{"retries": 0}'},
        "`retries` must be set >= 1",
    ),
}


def run_stream(settings: Settings) -> None:
    """The part of a worker that comes after its release, with nothing to answer."""
    answerer = SimpleNamespace(answer=None, last_resort=None)
    Stream(
        settings, "refused", cast(Answerer, answerer), lambda: None, lambda: None,
        Health(), Metrics(CollectorRegistry()), Latest(kept=0), Stopping(),
    ).run()  # fmt: skip


@pytest.mark.parametrize(
    ("role", "what"),
    [
        ("indexer", "a transaction longer than brokers allow"),
        ("indexer", "a session shorter than brokers allow"),
        ("outcomes-worker", "an option that no transactional producer takes"),
    ],
)
def test_a_process_ends_with_2_and_names_the_setting(
    kafka_settings: Settings, tmp_path: Path, role: str, what: str
) -> None:
    variables, named = REFUSED[what]
    with Process(role, kafka_settings, tmp_path, sources=None, **variables) as process:
        assert process.child.wait(60) == 2
        assert named in process.output
        assert "Traceback" not in process.output


def test_a_worker_s_stream_names_the_setting_of_its_transactions(kafka_settings: Settings) -> None:
    ensure_topics(kafka_settings, TIMEOUT)
    patient: dict[str, Any] = {"session_timeout_ms": 1_200_000, "max_poll_interval_ms": 1_200_000}
    settings = kafka_settings.model_copy(update={"worker": kafka_settings.worker.model_copy(update=patient)})
    with pytest.raises(SettingsError, match="MARQUEE_WORKER__SESSION_TIMEOUT_MS"):
        run_stream(settings)

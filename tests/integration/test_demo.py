"""The demo, small: it does the main job, and leaves nothing behind, however it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.testbed.processes import wait_for


@pytest.fixture
def demo(generated_data: Path, tmp_path: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "ops", "demo", "--data", str(generated_data)),
        *("--dir", str(tmp_path / "demo"), "--events", "300"),
    ]


def processes_of(folder: Path) -> list[str]:
    """List the command lines of the processes that use a file in this folder, except for working folders."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        variables = process.info["environ"] or {}
        words = [*(process.info["cmdline"] or ()), variables.get("MARQUEE_STORE", "")]
        if any(str(folder) in word for word in words):
            found.append(" ".join(process.info["cmdline"] or ()))
    return found


@pytest.mark.timeout(600)
def test_it_answers_two_profiles_a_history_and_every_event(demo: list[str], tmp_path: Path) -> None:
    done = subprocess.run(demo, capture_output=True, text=True, timeout=500, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Top\tIds") == 3
    for line in (
        "marquee recommend -a 0 -g 1 -j 10",
        "marquee recommend -a 6 -g 0 -j 16",
        "marquee recommend --recent",
        "p50",
        "p99",
        'marquee_events_total{outcome="recommendation"} 303.0',
    ):
        assert line in done.stdout
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_running(
    demo: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    running = subprocess.Popen(demo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("everything up", (tmp_path / "demo" / "up.json").is_file, 300)
        assert len(processes_of(tmp_path)) > 4

        running.send_signal(number)

        assert running.wait(90) == 128 + number
        assert processes_of(tmp_path) == []
    finally:
        running.kill()

"""`marquee up`: what dies is started again at the same address, and nothing outlives its end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.local.kafka import LocalKafka
from ops.local.milvus import MilvusLite

START_S = 200.0


class RunningUp:
    """`marquee up` as a process of its own, and its `up.json`."""

    def __init__(self, directory: Path, *options: str, **environment: str) -> None:
        self.directory = directory
        self.options = options
        command = [sys.executable, "-m", "ops", "up", "--dir", str(directory), *options]
        self.output = (directory.parent / f"{directory.name}.out").open("w+")
        self.process = subprocess.Popen(
            command,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"MARQUEE_STORE": str(directory / "store")} | environment,
        )

    def state(self) -> dict[str, Any]:
        """What `up.json` says, once it is there."""
        file = self.directory / "up.json"
        wait_for(lambda: file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said()
        content: dict[str, Any] = json.loads(file.read_text())
        return content

    def pid(self, name: str) -> int | None:
        """Process id of a child as `up.json` has it."""
        (pid,) = (process["pid"] for process in self.state()["processes"] if process["name"] == name)
        assert pid is None or isinstance(pid, int)
        return pid

    def said(self) -> str:
        self.output.seek(0)
        return self.output.read()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ended(process: psutil.Process) -> bool:
    """Whether it ended; a zombie waits only for whoever adopted it to notice."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def up(directory: Path, *options: str, **environment: str) -> Iterator[RunningUp]:
    running = RunningUp(directory, *options, **environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()  # its children go with it
            running.process.wait()
        running.output.close()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    with up(tmp_path_factory.mktemp("up") / "deployment", "--workers", "2", MARQUEE_PREFIX="up.") as running:
        running.state()
        yield running


def topics(state: dict[str, Any]) -> set[str]:
    """The topics there, once Kafka answers (a node that was killed needs a while)."""
    client = AdminClient({"bootstrap.servers": state["bootstrap_servers"], "log_level": 0})
    deadline = time.monotonic() + START_S
    while True:
        try:
            return set(client.list_topics(timeout=5).topics)
        except KafkaException:
            assert time.monotonic() < deadline


def test_it_prints_and_writes_processes_and_addresses(deployment: RunningUp) -> None:
    # Given a deployment that says it is up
    state = deployment.state()
    # Then up.json has every part with its own port, and the topics exist
    names = [process["name"] for process in state["processes"]]
    assert names == ["kafka", "milvus-lite", "indexer", "worker-1", "worker-2", "outcomes-worker"]
    ports = [process["http_port"] for process in state["processes"]]
    assert ports[:2] == [None, None]
    assert len(set(ports[2:])) == 4
    assert state["store"] == str(deployment.directory / "store")
    assert {"up.profiles", "up.recommendations", "up.releases"} <= topics(state)
    # And the printed table agrees with it
    told = [*names, state["bootstrap_servers"], state["milvus_uri"]]
    wait_for(lambda: all(text in deployment.said() for text in told))


@pytest.mark.parametrize("name", ["worker-1", "indexer", "outcomes-worker", "milvus-lite", "kafka"])
def test_a_killed_child_restarts_at_the_same_address(deployment: RunningUp, name: str) -> None:
    # Given a child that runs
    before = deployment.state()
    wait_for(lambda: deployment.pid(name) is not None)
    pid = deployment.pid(name)
    assert pid is not None
    # When it is killed
    os.kill(pid, signal.SIGKILL)
    # Then another process replaces it, and up.json has its id
    wait_for(lambda: deployment.pid(name) not in (None, pid))
    after = deployment.state()
    assert {key: after[key] for key in after if key != "processes"} == {
        key: before[key] for key in before if key != "processes"
    }
    assert [process["http_port"] for process in after["processes"]] == [
        process["http_port"] for process in before["processes"]
    ]
    # And Kafka still has its records
    assert "up.profiles" in topics(after)


def test_a_kafka_that_lost_its_groups_is_started_once_more(deployment: RunningUp) -> None:
    # Given a Kafka that runs
    wait_for(lambda: deployment.pid("kafka") is not None)
    pid = deployment.pid("kafka")
    # When its log has the lines of a node that loads its groups twice at once
    load = "{} loading of metadata from __consumer_offsets-0 with epoch {}\n"
    with (deployment.directory / "kafka" / "kafka.log").open("a") as log:
        log.write(load.format("Scheduling", 9) + load.format("Finished", 8))
    # Then another node replaces it, and a log line names the cause
    wait_for(lambda: deployment.pid("kafka") not in (None, pid))
    assert "restarted without its consumer groups" in deployment.said()
    assert "up.profiles" in topics(deployment.state())


def test_a_second_one_in_the_same_folder_is_refused(deployment: RunningUp) -> None:
    command = [sys.executable, "-m", "ops", "up", "--dir", str(deployment.directory)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith("marquee: `marquee up` runs in")
    assert deployment.process.poll() is None


def test_sigterm_ends_everything(deployment: RunningUp) -> None:
    # Given all children, however often they were started
    deployment.state()
    children = deployment.children()
    assert len(children) >= 2
    # When it is asked to end
    code = deployment.end(signal.SIGTERM)
    # Then it exits with 0, no process is left, and up.json is gone
    assert code == 0
    assert [child for child in children if not ended(child)] == []
    assert not (deployment.directory / "up.json").exists()
    assert "Traceback" not in deployment.said()


def test_kill_9_leaves_no_process_and_the_next_up_continues(deployment: RunningUp) -> None:
    # Given the folder of a deployment that ran before
    with up(deployment.directory, MARQUEE_PREFIX="up.") as killed:
        before = killed.state()
        children = killed.children()
        # When it is killed, and can end nobody
        killed.end(signal.SIGKILL)
        # Then its children end all the same
        wait_for(lambda: all(ended(child) for child in children))
    # And the next one has the same addresses and topics; nobody took its ports or its lock
    with up(deployment.directory, MARQUEE_PREFIX="up.", MARQUEE_KAFKA__CREATE_TOPICS="false") as again:
        after = again.state()
        assert after["bootstrap_servers"] == before["bootstrap_servers"]
        assert after["milvus_uri"] == before["milvus_uri"]
        assert "up.profiles" in topics(after)
        assert again.end(signal.SIGTERM) == 0


def test_ctrl_c_during_the_start_leaves_no_process(tmp_path: Path) -> None:
    with up(tmp_path / "up") as running:
        # Given that something was started, and not yet everything
        wait_for(lambda: running.children())
        children = running.children()
        assert not (running.directory / "up.json").exists()
        # When it is interrupted
        code = running.end(signal.SIGINT)
        # Then it exits with 0, and no process is left
        assert code == 0
        assert [child for child in children if not ended(child)] == []


def test_servers_that_are_named_are_used(kafka: LocalKafka, milvus_lite: MilvusLite, tmp_path: Path) -> None:
    # Given servers that somebody else runs
    environment = {
        "MARQUEE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "MARQUEE_MILVUS__URI": milvus_lite.uri,
        "MARQUEE_PREFIX": "named.",
    }
    with up(tmp_path / "up", "--workers", "0", **environment) as running:
        # Then none of our own are started, and those are used
        state = running.state()
        assert [process["name"] for process in state["processes"]] == ["indexer", "outcomes-worker"]
        assert state["bootstrap_servers"] == kafka.bootstrap_servers
        assert state["milvus_uri"] == milvus_lite.uri
        assert "named.profiles" in topics(state)
        assert running.end(signal.SIGTERM) == 0
    # And they outlive it
    assert set(kafka.pids) == {1}
    assert milvus_lite.pid is not None

"""The indexer's loop: commands are read, and carried out between sweeps."""

import time
from typing import cast

import pytest
from confluent_kafka import Message, TopicPartition
from prometheus_client import CollectorRegistry

from schemas.release import ReleaseCommand
from schemas.releases import ReleasesView
from schemas.settings import load_settings
from tests.unit.events import PolledEvent
from worker.indexer import loop
from worker.indexer.commands import Commands
from worker.indexer.job import Job, Records
from worker.indexer.loop import CommandFollower, parse_command
from worker.indexer.sweep import Sweep
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.process import Stopping

TOPIC = "marquee.release-commands"


def record(value: bytes, offset: int = 7) -> Message:
    return cast(Message, PolledEvent(value, (TOPIC, 0, offset)))


def test_a_command_without_an_id_is_known_by_its_offset() -> None:
    read = [parse_command(record(b'{"action": "index", "release": "a"}')) for _ in range(2)]
    assert [command and command.command_id for command in read] == ["marquee.release-commands-0-7"] * 2


def test_a_command_keeps_the_id_that_it_has() -> None:
    command = parse_command(record(b'{"command_id": "mine", "action": "rollback"}'))
    assert command is not None
    assert command.command_id == "mine"


class SlowMember:
    """A leader with one command, which it fetches in a tenth of a second after each `resume`."""

    leads = True
    consumer = None

    def __init__(self, *_: object) -> None:
        self.resumed_at: float | None = time.monotonic()

    def join(self) -> None: ...

    def close(self) -> None: ...

    def pause(self) -> None:
        self.resumed_at = None

    def resume(self) -> None:
        self.resumed_at = time.monotonic()

    def poll(self, seconds: float) -> Message | None:
        time.sleep(seconds / 10)
        if self.resumed_at is None or time.monotonic() - self.resumed_at < 0.1:
            return None
        return record(b'{"command_id": "mine", "action": "rollback"}')

    def next_command(self) -> TopicPartition:
        return self.at(0)

    def at(self, offset: int) -> TopicPartition:
        return TopicPartition(TOPIC, 0, offset)


class NoReader:
    undecodable = None
    view = ReleasesView()

    def __init__(self, *_: object) -> None: ...

    def poll(self, seconds: float) -> None: ...

    def read_to_end(self, seconds: float, *, settled: bool) -> None: ...

    def close(self) -> None: ...


class NotingWriter:
    def __init__(self, *_: object) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...

    def write(self, records: Records, offset: TopicPartition) -> None: ...


class StoppingCommands:
    """Commands of which the first stops the indexer."""

    def __init__(self, stopping: Stopping) -> None:
        self.carried_out: list[str] = []
        self._stopping = stopping

    def carry_out(self, command: ReleaseCommand, job: Job) -> None:
        self.carried_out.append(command.command_id)
        job.publish({}, done=True)
        self._stopping.set()


def test_sweeps_that_take_long_leave_time_for_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given sweeps that take longer than the time from one to the next
    for name, fake in {
        "Membership": SlowMember,
        "ReleasesReader": NoReader,
        "StateWriter": NotingWriter,
    }.items():
        monkeypatch.setattr(loop, name, fake)
    monkeypatch.setattr(loop, "_SWEEP_SECONDS", 0.5)
    stopping = Stopping()
    commands = StoppingCommands(stopping)
    deadline = time.monotonic() + 30.0

    def sweep(_: Job) -> None:
        time.sleep(0.6)
        if time.monotonic() > deadline:
            stopping.set()

    metrics = IndexerMetrics(CollectorRegistry())
    follower = CommandFollower(
        load_settings(), "one", Health(), metrics, stopping, cast(Commands, commands), cast(Sweep, sweep)
    )
    # When a command comes
    follower.run()
    follower.close()
    # Then it is carried out between two of them
    assert commands.carried_out == ["mine"]

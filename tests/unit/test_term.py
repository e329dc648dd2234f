"""Reading release commands."""

from typing import cast

from confluent_kafka import Message

from tests.unit.events import PolledEvent
from worker.indexer.loop import parse_command


def record(value: bytes, offset: int = 7) -> Message:
    return cast(Message, PolledEvent(value, ("marquee.release-commands", 0, offset)))


def test_a_command_without_an_id_is_known_by_its_offset() -> None:
    read = [parse_command(record(b'{"action": "index", "release": "a"}')) for _ in range(2)]
    assert [command and command.command_id for command in read] == ["marquee.release-commands-0-7"] * 2


def test_a_command_keeps_the_id_that_it_has() -> None:
    command = parse_command(record(b'{"command_id": "mine", "action": "rollback"}'))
    assert command is not None
    assert command.command_id == "mine"

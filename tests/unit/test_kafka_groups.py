"""A Kafka node that comes back without its groups is known by its log."""

from pathlib import Path

import pytest

from ops.local.kafka import GroupLoads
from ops.local.process import ChildProcess

SCHEDULED = (
    "[GroupCoordinator id=1] Scheduling loading of metadata from __consumer_offsets-{} with epoch {}\n"
)
FINISHED = "[GroupCoordinator id=1] Finished loading of metadata from __consumer_offsets-{} with epoch {} in 5623ms where\n"
FAILED = "[GroupCoordinator id=1] Failed to load metadata from __consumer_offsets-{} with epoch {} due to Replaying\n"
SHARED = "[ShareCoordinator id=1] Failed to load metadata from __share_group_state-{} with epoch {} due to Replaying\n"


@pytest.fixture
def node(tmp_path: Path) -> ChildProcess:
    return ChildProcess("kafka", ["true"], log=tmp_path / "kafka.log")


def says(node: ChildProcess, *lines: str) -> None:
    with node.log.open("a") as log:
        log.writelines(lines)


def test_nothing_is_lost_before_there_is_a_log(node: ChildProcess) -> None:
    assert not GroupLoads(node).are_lost()


def test_loads_one_after_another_lose_nothing(node: ChildProcess) -> None:
    loads = GroupLoads(node)
    for epoch in (0, 2):
        says(node, SCHEDULED.format(0, epoch), SCHEDULED.format(1, epoch))
        says(node, FINISHED.format(1, epoch), FINISHED.format(0, epoch))
        assert not loads.are_lost()


def test_a_load_that_ends_under_a_later_epoch_loses_groups(node: ChildProcess) -> None:
    loads = GroupLoads(node)
    says(node, SCHEDULED.format(0, 0), SCHEDULED.format(1, 0))
    assert not loads.are_lost()
    says(node, SCHEDULED.format(0, 2), SCHEDULED.format(1, 2), FINISHED.format(1, 2))
    assert not loads.are_lost()
    says(node, FINISHED.format(0, 0))
    assert loads.are_lost()
    assert loads.are_lost()


def test_a_load_that_fails_loses_groups(node: ChildProcess) -> None:
    loads = GroupLoads(node)
    says(node, SCHEDULED.format(0, 0), SHARED.format(0, 0))
    assert not loads.are_lost()
    says(node, FAILED.format(0, 0))
    assert loads.are_lost()


def test_a_line_that_is_half_written_is_read_whole_later(node: ChildProcess) -> None:
    loads = GroupLoads(node)
    line = FAILED.format(0, 0)
    says(node, line[:60])
    assert not loads.are_lost()
    says(node, line[60:])
    assert loads.are_lost()


def test_a_new_start_resets_the_check(node: ChildProcess) -> None:
    # Given a node that lost groups
    loads = GroupLoads(node)
    says(node, FAILED.format(0, 0))
    assert loads.are_lost()
    # When it is started again
    node.start()
    node.finish(30)
    # Then only the lines of the new run count
    assert not loads.are_lost()
    says(node, SCHEDULED.format(0, 4), FINISHED.format(0, 2))
    assert loads.are_lost()

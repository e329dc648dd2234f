"""Releases whose files are corrupt or gone from the store: no command activates them, and /health/ready names them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.deployment.overview import overview
from ops.deployment.servers import servers
from producer.commands import send_command, wait_for_outcome
from schemas import kafka as clients
from schemas.release import ReleaseCommand
from schemas.settings import Settings
from tests.testbed.indexing import TIMEOUT, carry_out, corrupt, indexer, names, until, view_of, with_store
from worker.monitoring.http import Health


@pytest.fixture
def settings(lite_settings: Settings, two_releases: Path) -> Settings:
    return with_store(lite_settings, two_releases)


@pytest.fixture
def running(settings: Settings) -> Iterator[Health]:
    """An indexer that has activated the first release, and then the second."""
    with indexer(settings) as health:
        for release in names(settings):
            assert carry_out(settings, "index", release).outcome == "done"
        yield health


COMMANDS = {"activate": {}, "rollback": {}, "canary": {"share": 0.5}, "shadow": {"share": 0.5}, "index": {}}


def test_no_command_takes_a_release_whose_files_are_corrupt_or_gone(
    settings: Settings, running: Health
) -> None:
    first, second = names(settings)
    for damage, reason in ((corrupt, "sha256"), (remove, "is not in the store")):
        damage(settings, first)
        for action, fields in COMMANDS.items():
            status = carry_out(settings, action, first, **fields)
            assert (status.outcome, reason in (status.reason or "")) == ("refused", True), action
    view = view_of(settings)
    assert view.active is not None
    assert (view.active.release, view.epoch, view.trial) == (second, 2, None)
    assert view.releases[first].attempt == 1
    assert running.problems == {}


def remove(settings: Settings, release: str) -> None:
    shutil.rmtree(Path(settings.store) / release)


def test_an_active_release_that_lost_its_files_is_named(settings: Settings, running: Health) -> None:
    _, second = names(settings)
    (Path(settings.store) / second / "catalogue.parquet").unlink()
    assert [found.part for found in servers(settings, 20) if found.state == "wrong"] == ["release"]
    assert any("lacks catalogue.parquet" in problem for problem in overview(settings, 20).problems)
    carry_out(settings, "end", second)  # a sweep follows every command
    until(lambda: "lacks catalogue.parquet" in running.problems.get("release", ""))


def test_a_command_without_an_id_comes_once(settings: Settings, running: Health) -> None:
    first, _ = names(settings)
    producer = Producer(clients.producer(settings.kafka))
    value = b'{"action": "activate", "release": "%b"}' % first.encode()
    producer.produce(settings.names.release_commands, value, partition=0)
    assert producer.flush(TIMEOUT) == 0
    until(lambda: view_of(settings).epoch == 3)
    last = view_of(settings).releases[first].commands[-1]
    assert last.command_id == f"{settings.names.release_commands}-0-2"

    again = ReleaseCommand(action="index", release=first, command_id=last.command_id)
    send_command(settings, again, TIMEOUT)
    carry_out(settings, "end", first)  # commands are taken in their order
    assert view_of(settings).releases[first].commands[-2].outcome == "ignored"
    assert wait_for_outcome(settings, again, TIMEOUT).command_id == last.command_id

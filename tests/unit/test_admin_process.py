"""Calls in a child process return their results and errors, and the end of the child ends nothing else."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import SettingsError, UnreachableError
from worker.kafka.admin import AdminProcess


@pytest.fixture
def process() -> Iterator[AdminProcess]:
    with AdminProcess() as process:
        yield process


def refused_by_the_client() -> None:
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no broker"))


def refused_by_a_setting() -> None:
    raise SettingsError("set it")


def abort_as_a_failed_assertion_does() -> None:
    os.kill(os.getpid(), signal.SIGABRT)


def test_answers_and_errors_come_back(process: AdminProcess) -> None:
    assert process.call(divmod, 7, 2, seconds=10) == (3, 1)
    with pytest.raises(SettingsError, match="set it"):
        process.call(refused_by_a_setting, seconds=10)
    with pytest.raises(KafkaException) as raised:
        process.call(refused_by_the_client, seconds=10)
    assert raised.value.args[0].code() == KafkaError._TIMED_OUT
    assert "no broker" in raised.value.args[0].str()


def test_a_child_that_aborts_is_replaced(process: AdminProcess) -> None:
    first = process.call(os.getpid, seconds=10)
    with pytest.raises(UnreachableError, match="asking again"):
        process.call(abort_as_a_failed_assertion_does, seconds=10)
    assert process.call(os.getpid, seconds=10) not in (first, os.getpid())


def test_a_child_that_hangs_is_ended(process: AdminProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    process.call(os.getpid, seconds=10)
    monkeypatch.setattr("worker.kafka.admin._START_SECONDS", 0.0)
    with pytest.raises(UnreachableError):
        process.call(time.sleep, 600, seconds=0.2)


def test_the_child_ends_with_its_owner(process: AdminProcess) -> None:
    child = process.call(os.getpid, seconds=10)
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    with pytest.raises(UnreachableError, match="ending"):
        process.call(os.getpid, seconds=10)

"""Settings of topics that break a promise, on a real Kafka: processes name them, and wait until they are fixed."""

import logging
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    NewPartitions,
)
from prometheus_client import CollectorRegistry

from ops.deployment.overview import overview
from schemas import kafka
from schemas.errors import SettingsError
from schemas.settings import Settings
from schemas.topics import CLEANUP, MAX_BYTES, TIMESTAMPS
from tests.integration.test_doctor import configure
from tests.integration.test_topics import create, states
from tests.testbed.processes import Process, marquee, wait_for
from worker.errors import AbortedError
from worker.indexer.membership import Membership
from worker.kafka import topics as module
from worker.kafka.topics import TopicWatch, ensure_topics
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.outcomes.loop import outcomes_member
from worker.process import Stopping

TIMEOUT = 30.0


def grow(settings: Settings, topic: str, partitions: int) -> None:
    admin = AdminClient(kafka.admin(settings.kafka))
    for future in admin.create_partitions([NewPartitions(topic, partitions)]).values():
        future.result()
    short = topic.removeprefix(settings.prefix)
    wait_for("the partitions", lambda: states(settings)[short].partitions == partitions)


def said_of_topics(process: Process) -> str:
    return str(process.readiness().get("problems", {}).get("topics", ""))


def test_a_worker_waits_for_dead_letters_that_lose_results_and_goes_on_once_they_are_mended(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    ensure_topics(kafka_settings, TIMEOUT)
    name = kafka_settings.names.dead_letters
    configure(kafka_settings, name, CLEANUP, "compact")
    with Process("worker", kafka_settings, tmp_path) as worker:
        said = wait_for("the fault", lambda: said_of_topics(worker))
        assert worker.get("/health/ready")[0] == 503
        for part in (name, "cleanup.policy=compact", "set cleanup.policy=delete", "marquee topics --fix"):
            assert part in said
        fixed = marquee(kafka_settings, "topics", "--fix")
        assert fixed.returncode == 0, fixed.stderr
        wait_for("the next step", lambda: worker.readiness() and not said_of_topics(worker))
        assert worker.child.poll() is None
        assert worker.stop() == 0


@pytest.mark.parametrize(
    ("role", "topic"),
    [("indexer", "release-commands"), ("indexer", "releases"), ("worker", "withdrawals"), ("outcomes-worker", "outcomes")],
)  # fmt: skip
def test_a_process_waits_where_a_topic_of_one_partition_has_three(
    kafka_settings: Settings, tmp_path: Path, role: str, topic: str
) -> None:
    create(kafka_settings, topic, 3, cleanup_policy={"release-commands": "delete"}.get(topic, "compact"))
    with Process(role, kafka_settings, tmp_path) as process:
        said = wait_for("the fault", lambda: said_of_topics(process))
        assert f"{kafka_settings.prefix}{topic} has 3 partitions" in said
        assert "delete the topic, and run `marquee topics`" in said


def test_fix_sets_what_can_be_set_and_names_what_has_to_be_made_anew(kafka_settings: Settings) -> None:
    ensure_topics(kafka_settings, TIMEOUT)
    names = kafka_settings.names
    configure(kafka_settings, names.releases, CLEANUP, "delete")
    configure(kafka_settings, names.release_commands, CLEANUP, "compact")
    configure(kafka_settings, names.recommendations, TIMESTAMPS, "CreateTime")
    configure(kafka_settings, names.dead_letters, MAX_BYTES, "1000")
    grow(kafka_settings, names.withdrawals, 3)

    fixed = marquee(kafka_settings, "topics", "--fix")

    assert fixed.returncode == 2
    assert f"{names.withdrawals} has 3 partitions" in fixed.stderr
    assert "every movie is recommended again" in fixed.stderr
    assert fixed.stderr.count("\n") == 1
    there = states(kafka_settings)
    assert there["releases"].config[CLEANUP] == "compact"
    assert there["release-commands"].config[CLEANUP] == "delete"
    assert there["recommendations"].config[TIMESTAMPS] == "LogAppendTime"
    assert int(there["dead-letters"].config[MAX_BYTES]) > int(there["profiles"].config[MAX_BYTES])


def test_profiles_of_the_largest_records_that_kafka_knows(kafka_settings: Settings) -> None:
    create(kafka_settings, "profiles", 1, max_message_bytes="2147483647")
    create(kafka_settings, "dead-letters", 1)
    ensure_topics(kafka_settings, TIMEOUT)
    there = states(kafka_settings)
    assert {there[name].config[MAX_BYTES] for name in ("recommendations", "dead-letters")} == {"2147483647"}


def test_a_prefix_that_kafka_cannot_tell_from_another_s_is_named(kafka_settings: Settings) -> None:
    ensure_topics(kafka_settings, TIMEOUT)
    alike = kafka_settings.model_copy(update={"prefix": kafka_settings.prefix.replace(".", "_")})
    with pytest.raises(SettingsError, match=r"collides.*MARQUEE_PREFIX"):
        ensure_topics(alike, TIMEOUT)


def test_a_running_process_notices_a_change_and_its_mending(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    health, names = Health(), kafka_settings.names
    with caplog.at_level(logging.WARNING), TopicWatch(kafka_settings, "worker", health) as topics:
        topics.wait(Stopping().wait)
        assert "topics" not in health.problems
        configure(kafka_settings, names.withdrawals, CLEANUP, "delete")
        wait_for("the fault", lambda: "topics" in health.problems)
        assert f"set cleanup.policy=compact on {names.withdrawals}" in health.problems["topics"]
        configure(kafka_settings, names.withdrawals, CLEANUP, "compact")
        wait_for("its end", lambda: "topics" not in health.problems)
    assert caplog.text.count("cleanup.policy=delete, which") == 1


def test_commands_of_another_partition_are_no_commands(kafka_settings: Settings) -> None:
    """Given a topic with three partitions, and a command in the last one before that in the first."""
    ensure_topics(kafka_settings, TIMEOUT)
    topic = kafka_settings.names.release_commands
    grow(kafka_settings, topic, 3)
    producer = Producer(kafka.producer(kafka_settings.kafka))
    for number in range(5):
        producer.produce(topic, f"{number}".encode(), partition=2)
    assert producer.flush(TIMEOUT) == 0
    producer.produce(topic, b"command", partition=0)
    assert producer.flush(TIMEOUT) == 0

    membership = Membership(kafka_settings, Health(), IndexerMetrics(CollectorRegistry()))
    try:
        membership.join()
        message = wait_for("the command", lambda: membership.poll(0.1))
        assert (message.partition(), message.value()) == (0, b"command")
        assert membership.leads
    finally:
        membership.close()


def test_of_two_outcomes_workers_one_works_whatever_partitions_the_other_has(
    kafka_settings: Settings,
) -> None:
    ensure_topics(kafka_settings, TIMEOUT)
    grow(kafka_settings, kafka_settings.names.outcomes, 3)
    members = [outcomes_member(kafka_settings) for _ in range(2)]
    for member in members:
        member.join()

    def shared() -> bool:
        for member in members:
            with suppress(AbortedError):  # the first partition moves: a term ends, and another begins
                member.poll(0.1)
        assert sum(member.leads and not member._lost for member in members) <= 1
        return all(member.consumer.assignment() for member in members)

    try:
        wait_for("partitions for both", shared)
    finally:
        for member in members:
            member.close()


def test_status_misses_every_topic_of_the_table(kafka_settings: Settings) -> None:
    for name in (
        "profiles",
        "recommendations",
        "dead-letters",
        "release-commands",
        "releases",
        "withdrawals",
    ):
        create(kafka_settings, name, 1)
    problems = overview(kafka_settings, TIMEOUT).parts[0].problem
    for name in ("redriven", "feedback", "outcomes"):
        assert f"{kafka_settings.prefix}{name}" in str(problems)

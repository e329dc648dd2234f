"""`marquee doctor` on a real Kafka, whose topics are broken on purpose."""

import json
from contextlib import closing

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from ops.deployment.finding import Finding
from ops.deployment.servers import servers
from schemas import kafka
from schemas.names import Names
from schemas.settings import Settings
from tests.testbed.processes import marquee, wait_for
from worker.indexer.ownership import owner_of
from worker.kafka.topics import ensure_topics
from worker.retrieval.milvus import Milvus


def wrongs(settings: Settings) -> list[Finding]:
    return [found for found in servers(settings, 20) if found.state == "wrong"]


def configure(settings: Settings, topic: str, option: str, value: str) -> None:
    entry = ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(kafka.admin(settings.kafka))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def test_topics_that_are_missing_are_named(kafka_settings: Settings) -> None:
    found = [finding for finding in wrongs(kafka_settings) if finding.part == "topics"]
    assert len(found) == 1
    assert kafka_settings.names.profiles in found[0].detail
    assert "marquee topics" in str(found[0].mend)


def test_each_wrong_setting_of_a_topic_is_named(lite_settings: Settings) -> None:
    """Given a deployment that is well, and then a setting after another that is not."""
    ensure_topics(lite_settings, 30)
    names = lite_settings.names
    assert wrongs(lite_settings) == []

    configure(lite_settings, names.profiles, "cleanup.policy", "compact")
    configure(lite_settings, names.releases, "cleanup.policy", "delete")
    configure(lite_settings, names.recommendations, "message.timestamp.type", "CreateTime")
    configure(lite_settings, names.dead_letters, "max.message.bytes", "1000")

    found = wait_for("four", lambda: seen if len(seen := wrongs(lite_settings)) == 4 else None)
    assert [finding.detail.split()[0] for finding in found] == [
        names.profiles, names.recommendations, names.dead_letters, names.releases,
    ]  # fmt: skip
    assert all(finding.mend for finding in found)


def test_limits_of_the_brokers_are_compared(lite_settings: Settings) -> None:
    ensure_topics(lite_settings, 30)
    patient = lite_settings.worker.model_copy(update={"session_timeout_ms": 1_790_000})
    settings = lite_settings.model_copy(update={"worker": patient})
    assert ["transaction.max.timeout.ms" in found.detail for found in wrongs(settings)] == [True]


def test_the_command_ends_with_1_and_json_where_a_part_is_away(kafka_settings: Settings) -> None:
    ensure_topics(kafka_settings, 30)
    done = marquee(kafka_settings, "doctor", "--json")
    states = {found["part"]: found["state"] for found in json.loads(done.stdout)}
    assert done.returncode == 1
    assert (states["kafka"], states["topics"], states["milvus"]) == ("ok", "ok", "wrong")


def test_collections_that_an_earlier_indexer_left_half_built_are_listed(lite_settings: Settings) -> None:
    """Given collections with and without an owner that no record names, and one of another deployment."""
    ensure_topics(lite_settings, 30)
    release, names = "20261121T101500-3f9c2a", lite_settings.names
    left = f"{names.plain_prefix}20261121T101500_3f9c2a_1"
    with closing(Milvus(lite_settings.milvus)) as milvus:
        milvus.create(left, 4)
        milvus.create(names.collection(release, 2), 4, owner_of(lite_settings))
        milvus.create(Names("other.").collection(release, 1), 4)
        try:
            notes = [found for found in servers(lite_settings, 20) if found.part == "collections"]
        finally:
            for collection in (left, names.collection(release, 2), Names("other.").collection(release, 1)):
                milvus.drop(collection)
    assert [found.state for found in notes] == ["note"]
    assert f"no owner is marked on {left}, and no record names them" in notes[0].detail

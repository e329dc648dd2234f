"""The deployment's topics on a real Kafka."""

import time

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    NewPartitions,
    NewTopic,
)

from schemas import kafka
from schemas.dead_letter import HEADROOM_BYTES
from schemas.errors import SettingsError, UnreachableError
from schemas.settings import KafkaSettings, Settings, load_settings
from worker.kafka.cluster import TopicState
from worker.kafka.topics import ensure_topics, topic_states

TIMEOUT = 20.0


def states(settings: Settings) -> dict[str, TopicState]:
    return {state.name.removeprefix(settings.prefix): state for state in topic_states(settings, TIMEOUT)}


def create(settings: Settings, name: str, partitions: int, **config: str) -> None:
    admin = AdminClient(kafka.admin(settings.kafka))
    dotted = {option.replace("_", "."): value for option, value in config.items()}
    topic = NewTopic(settings.prefix + name, num_partitions=partitions, config=dotted)
    for future in admin.create_topics([topic]).values():
        future.result()


def test_all_topics_are_created_as_the_design_says(kafka_settings: Settings) -> None:
    default = KafkaSettings(bootstrap_servers=kafka_settings.kafka.bootstrap_servers)
    ensure_topics(kafka_settings.model_copy(update={"kafka": default}), TIMEOUT)
    there = states(kafka_settings)
    assert {name: state.partitions for name, state in there.items()} == {
        "profiles": 12,
        "recommendations": 12,
        "dead-letters": 12,
        "redriven": 1,
        "release-commands": 1,
        "releases": 1,
        "withdrawals": 1,
        "feedback": 12,
        "outcomes": 1,
    }
    compacted = {name for name, state in there.items() if "compact" in state.config["cleanup.policy"]}
    assert compacted == {"redriven", "releases", "withdrawals", "outcomes"}
    stamped = {
        name for name, state in there.items() if state.config["message.timestamp.type"] == "LogAppendTime"
    }
    assert stamped == {"recommendations", "dead-letters", "feedback"}


def test_creating_again_changes_nothing(kafka_settings: Settings) -> None:
    ensure_topics(kafka_settings, TIMEOUT)
    before = states(kafka_settings)
    ensure_topics(kafka_settings, TIMEOUT)
    assert states(kafka_settings) == before


def test_topics_follow_the_profiles_that_are_there(kafka_settings: Settings) -> None:
    """Given profiles with 3 partitions and records of 5 MB, and dead-letters and recommendations too small for them."""
    create(kafka_settings, "profiles", 3, max_message_bytes="5000000")
    create(kafka_settings, "dead-letters", 3)
    create(kafka_settings, "recommendations", 1)

    ensure_topics(kafka_settings, TIMEOUT)

    there = states(kafka_settings)
    assert there["recommendations"].partitions == 3
    assert there["feedback"].partitions == 3
    for name in ("recommendations", "dead-letters"):
        assert int(there[name].config["max.message.bytes"]) == 5_000_000 + HEADROOM_BYTES


def only_check(settings: Settings) -> Settings:
    unchecked = settings.kafka.model_copy(update={"create_topics": False})
    return settings.model_copy(update={"kafka": unchecked})


def test_where_an_operator_owns_the_topics_what_is_missing_is_named(kafka_settings: Settings) -> None:
    create(kafka_settings, "profiles", 3)
    with pytest.raises(SettingsError, match=r"missing.*dead-letters.*marquee topics"):
        ensure_topics(only_check(kafka_settings), TIMEOUT)
    assert list(states(kafka_settings)) == ["profiles"]


def test_where_an_operator_owns_the_topics_too_few_partitions_are_named(kafka_settings: Settings) -> None:
    ensure_topics(kafka_settings, TIMEOUT)
    more = AdminClient(kafka.admin(kafka_settings.kafka))

    for future in more.create_partitions([NewPartitions(kafka_settings.names.profiles, 5)]).values():
        future.result()
    while states(kafka_settings)["profiles"].partitions < 5:  # brokers learn of it a moment later
        time.sleep(0.05)
    with pytest.raises(SettingsError, match="recommendations has 4 partitions"):
        ensure_topics(only_check(kafka_settings), TIMEOUT)


def test_no_kafka_is_said_in_one_sentence() -> None:
    settings = load_settings(kafka={"bootstrap_servers": "127.0.0.1:9"})
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 did not answer within 1 s"):
        ensure_topics(settings, 1.0)

"""One table of topics: creation, checks, rights, schemas and pages are made from it."""

import re
from itertools import pairwise

import pytest

from ops.deployment.acls import ROLES, rights
from ops.reference.pages import contract_page
from schemas.names import Names
from schemas.published import asyncapi
from schemas.release import ReleaseCommand
from schemas.topics import LARGEST_BYTES, MAX_BYTES, MESSAGES, TOPICS, Message, Role, Topic
from worker.kafka.cluster import TopicState
from worker.kafka.faults import Fault, faults, unreadable, waiting
from worker.kafka.topics import planned_topics

NAMES = Names("p.")


def test_names_are_those_of_the_table() -> None:
    properties = {name for name in dir(Names) if isinstance(getattr(Names, name), property)}
    topics = {topic.name for topic in TOPICS}
    assert topics <= properties
    assert NAMES.topics == tuple(getattr(NAMES, topic.name) for topic in TOPICS)
    assert len(set(NAMES.topics)) == len(TOPICS)


def test_each_topic_is_created_published_and_in_the_contract() -> None:
    created = {topic.name for topic in planned_topics(NAMES, 12, 1_000_000)} | {NAMES.profiles}
    assert created == set(NAMES.topics)
    channels = asyncapi("0")["channels"]
    assert isinstance(channels, dict)
    assert list(channels) == [topic.name for topic in TOPICS]
    page = contract_page()
    for name in Names().topics:
        assert f"\n## {name}: " in page
        assert f"\n| `{name}` |" in page


def test_a_topic_that_is_added_to_the_table_is_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a topic that is in the table and in the names, and nowhere else."""
    message = Message("histories-record", "the user", "FULL", ReleaseCommand)
    histories = Topic(
        "histories",
        (message,),
        written_by=frozenset[Role](("worker",)),
        read_by=frozenset[Role](("worker", "admin")),
        cleanup="compact",
    )
    monkeypatch.setattr(Names, "histories", property(lambda names: f"{names.prefix}histories"), raising=False)
    for module in (
        "schemas.topics",
        "schemas.published",
        "ops.deployment.acls",
        "ops.reference.pages",
        "worker.kafka.topics",
        "worker.kafka.faults",
    ):
        monkeypatch.setattr(f"{module}.TOPICS", (*TOPICS, histories))
    monkeypatch.setattr("schemas.published.MESSAGES", (*MESSAGES, message))

    assert "p.histories" in NAMES.topics  # what status and doctor look for
    assert planned_topics(NAMES, 3, 1)[-1].config["cleanup.policy"] == "compact"
    assert ("topic", "p.histories", ("Read", "Write")) in [
        (right.resource, right.name, right.operations) for right in rights("worker", NAMES)
    ]
    assert "send_histories" in asyncapi("0")["operations"]  # type: ignore[operator]
    assert "| `marquee.histories` |" in contract_page()
    broken = {"p.histories": TopicState("p.histories", 3, 1, {"cleanup.policy": "delete"})}
    assert [fault.setting for fault in waiting(faults(NAMES, broken), "worker")] == ["cleanup.policy"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_the_rights_that_the_table_names(role: Role) -> None:
    granted = [right for right in rights(role, NAMES) if right.resource == "topic"]
    for topic in TOPICS:
        name = topic.name_in(NAMES)
        operations = {
            operation
            for right in granted
            if right.name == name or (right.prefixed and name.startswith(right.name))
            for operation in right.operations
        }
        assert ("Read" in operations, "Write" in operations) == (
            role in topic.read_by or role == "admin",
            role in topic.written_by or role == "admin",
        )


@pytest.mark.parametrize("prefix", ["", ".", "..", "_", "-", "1.", "a" * 100])
def test_names_are_legal_on_kafka(prefix: str) -> None:
    for name in Names(prefix).topics:
        assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name)
        assert name not in (".", "..")


def well(partitions: int = 12, size: int = 1_048_588) -> dict[str, TopicState]:
    """Every topic as the table says."""
    defaults = {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime", MAX_BYTES: "1048588"}
    profiles = TopicState(NAMES.profiles, partitions, 3, defaults | {MAX_BYTES: str(size)})
    planned = planned_topics(NAMES, partitions, size)
    return {NAMES.profiles: profiles} | {
        topic.name: TopicState(topic.name, topic.partitions, 3, defaults | topic.config) for topic in planned
    }


def broken(topic: str, partitions: int | None = None, **config: str) -> list[Fault]:
    states = well()
    name = getattr(NAMES, topic)
    state = states[name]
    dotted = {option.replace("_", "."): value for option, value in config.items()}
    states[name] = TopicState(name, partitions or state.partitions, 3, state.config | dotted)
    return faults(NAMES, states)


@pytest.mark.parametrize("size", [1_000, 1_048_588, LARGEST_BYTES])
def test_topics_as_the_table_says_have_no_fault(size: int) -> None:
    assert faults(NAMES, well(size=size)) == []


def test_no_size_is_larger_than_kafka_takes() -> None:
    sizes = [
        int(t.config[MAX_BYTES]) for t in planned_topics(NAMES, 1, LARGEST_BYTES) if MAX_BYTES in t.config
    ]
    assert sizes == [LARGEST_BYTES, LARGEST_BYTES]


@pytest.mark.parametrize(
    ("topic", "policy", "roles"),
    [
        ("profiles", "compact", {"worker", "outcomes"}),
        ("recommendations", "compact", {"worker", "outcomes"}),
        ("dead_letters", "compact,delete", {"worker", "outcomes"}),
        ("release_commands", "compact", {"indexer"}),
        ("releases", "delete", {"worker", "indexer"}),
        ("releases", "compact,delete", {"worker", "indexer"}),
        ("withdrawals", "delete", {"worker"}),
        ("outcomes", "delete", {"outcomes"}),
        ("redriven", "delete", set()),
        ("feedback", "compact", {"outcomes"}),
    ],
)
def test_a_cleanup_that_loses_records_is_waited_for_and_can_be_set(
    topic: str, policy: str, roles: set[str]
) -> None:
    (fault,) = broken(topic, cleanup_policy=policy)
    assert (fault.topic, fault.setting, fault.severity) == (getattr(NAMES, topic), "cleanup.policy", "stops")
    assert fault.waiting == roles
    assert str(fault.value) in fault.remedy
    assert fault.topic in str(fault)


@pytest.mark.parametrize("topic", [topic.name for topic in TOPICS if topic.single])
def test_more_than_one_partition_is_named_with_what_is_lost(topic: str) -> None:
    (fault,) = broken(topic, partitions=3)
    assert (fault.setting, fault.severity, fault.value) == ("partitions", "stops", None)
    assert "delete the topic" in fault.remedy
    assert str(next(row.if_made_anew for row in TOPICS if row.name == topic)) in fault.remedy


def test_what_loses_no_record_is_said_and_not_waited_for() -> None:
    found = [
        *broken("recommendations", message_timestamp_type="CreateTime"),
        *broken("dead_letters", max_message_bytes="1000"),
        *broken("outcomes", cleanup_policy="compact"),
    ]
    assert [fault.severity for fault in found] == ["wrong", "wrong", "wrong"]
    assert not any(fault.waiting for fault in found)


def test_a_provider_s_ceiling_at_the_size_of_profiles_is_no_more_than_a_note() -> None:
    (fault,) = broken("dead_letters", max_message_bytes="1048588")
    assert fault.severity == "note"


def test_the_order_of_policies_is_none() -> None:
    assert broken("outcomes", cleanup_policy="delete,compact") == []


def test_settings_that_may_not_be_read_are_no_fault() -> None:
    states = {name: TopicState(name, state.partitions, 3, {}) for name, state in well().items()}
    assert faults(NAMES, states) == []
    assert unreadable(states) == list(states)


def test_faults_come_in_the_order_of_the_table() -> None:
    states = {name: TopicState(name, 3, 1, {"cleanup.policy": "nothing"}) for name in NAMES.topics}
    places = [NAMES.topics.index(fault.topic) for fault in faults(NAMES, states)]
    assert all(first <= second for first, second in pairwise(places))

"""A cluster seen from outside: ends of topics, offsets and members of groups, open transactions, and retention at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, MemberAssignment  # type: ignore[attr-defined]

from schemas import kafka
from schemas.kafka import watermarks
from schemas.settings import Settings
from tests.testbed.processes import wait_for

# Partitions of the topics that tests create. The default of 12 costs a broker three times as much.
PARTITIONS = 4
# An empty fetch waits on the broker. At the product's 5 ms, idle consumers keep a fifth of a core busy.
CLIENT: dict[str, str | int | float | bool] = {"fetch.wait.max.ms": 50}

Partition = tuple[str, int]  # topic and number
READER = "marquee-testbed"  # librdkafka requires a group; nothing is committed under it
ADMIN_SECONDS = 30.0
_ASK_SECONDS = 1.0


@contextmanager
def consumer(
    bootstrap_servers: str, group: str = READER, isolation: str = "read_uncommitted"
) -> Iterator[Consumer]:
    """A consumer that joins no group and commits nothing; by default it reads open transactions too."""
    made = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        yield made
    finally:
        made.close()


def ends_of(bootstrap_servers: str, topics: list[str], partitions: int) -> dict[Partition, int]:
    """The offset after the last record of each partition, committed or not.

    Raises:
        KafkaException: the brokers did not answer.
    """
    with consumer(bootstrap_servers) as asking:
        return {
            (topic, p): watermarks(asking, TopicPartition(topic, p), ADMIN_SECONDS)[1]
            for topic in topics
            for p in range(partitions)
        }


def committed_offsets(bootstrap_servers: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """The committed offsets of a group, by partition.

    From a consumer, not from the admin client: see `ops.deployment.lag.group_on`.

    Raises:
        KafkaException: the brokers did not answer.
    """
    with consumer(bootstrap_servers, group) as asking:
        found = asking.committed([TopicPartition(topic, p) for p in range(partitions)], ADMIN_SECONDS)
    return {committed.partition: committed.offset for committed in found}


def members_of(bootstrap_servers: str, group: str) -> int:
    """The number of members of a group, with dead ones until their session ends.

    Raises:
        KafkaException: the brokers did not answer.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    described = admin.describe_consumer_groups([group], request_timeout=ADMIN_SECONDS)[group]
    return len(described.result().members)


def group_state(bootstrap_servers: str, group: str) -> list[str]:
    """The coordinator's view of a group, a line each: its state, and the owned and target partitions of each member."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        found = admin.describe_consumer_groups([group], request_timeout=ADMIN_SECONDS)[group].result()
    except KafkaException as error:
        return [f"Group {group}: {error.args[0].str()}."]

    def partitions(assignment: MemberAssignment | None) -> list[int]:
        return sorted(p.partition for p in assignment.topic_partitions) if assignment else []

    members = (
        f"  {member.member_id}: owned {partitions(member.assignment)}, target {partitions(member.target_assignment)}"
        for member in found.members
    )
    return [f"Group {group}: {found.state.name}.", *members]


def cluster_state(bootstrap_servers: str, prefix: str) -> list[str]:
    """The nodes, and each partition with a fault, of Kafka's own topics and those with the prefix, a line each.

    Faults: no leader, a leader that does not answer, replicas out of sync, an open transaction.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        found = admin.list_topics(timeout=ADMIN_SECONDS)
    except KafkaException as error:
        return [f"Cluster: {error.args[0].str()}."]
    partitions = [
        (TopicPartition(name, number), partition)
        for name, topic in sorted(found.topics.items())
        if name.startswith((prefix, "__"))
        for number, partition in sorted(topic.partitions.items())
    ]
    with (
        consumer(bootstrap_servers, isolation="read_committed") as committed,
        consumer(bootstrap_servers) as everything,
    ):
        ends = [(_end(committed, at), _end(everything, at)) for at, _ in partitions]
    faults = (
        f"  {at.topic}-{at.partition}: leader {partition.leader}, in sync {partition.isrs} of {partition.replicas}, "
        f"committed up to {end[0]} of {end[1]}"
        for (at, partition), end in zip(partitions, ends, strict=True)
        if partition.leader < 0 or len(partition.isrs) < len(partition.replicas) or end[0] != end[1]
    )
    return [f"Cluster: nodes {sorted(found.brokers)}.", *faults]


def _end(asking: Consumer, at: TopicPartition) -> int | str:
    try:
        return watermarks(asking, at, _ASK_SECONDS)[1]
    except KafkaException as error:
        return str(error.args[0].name())


def retention_takes(settings: Settings, before: list[TopicPartition]) -> None:
    """Delete every record before these offsets, as retention does; -1 is the end.

    Retried, because a new admin client sometimes finds no leaders within its timeout.
    """
    admin = AdminClient(kafka.admin(settings.kafka))

    def deleted() -> bool:
        try:
            return all(future.result() for future in admin.delete_records(before).values())
        except KafkaException:
            return False

    wait_for("the deletion of the records", deleted)

"""The smallest rights of each role on Kafka, and the `kafka-acls` commands that grant them."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from schemas.names import Names
from schemas.topics import PROCESSES, ROLES, TOPICS, Role

__all__ = ["ROLES", "Right", "Role", "commands", "rights"]

Resource = Literal["topic", "group", "transactional-id"]


@dataclass(frozen=True)
class Right:
    """Operations on a resource, or with `prefixed` on every resource whose name has the prefix."""

    resource: Resource
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False


def rights(role: Role, names: Names) -> list[Right]:
    """List the rights of a role. The right to write includes idempotent writes (KIP-679)."""
    if role == "admin":
        topic = ("Alter", "AlterConfigs", "Create", "Describe", "DescribeConfigs", "Read", "Write")
        return [
            Right("topic", names.prefix, topic, prefixed=True),
            Right("group", names.prefix, ("Describe", "Read"), prefixed=True),
            Right("transactional-id", names.redrive_transactional_id, ("Describe", "Write")),
        ]
    # A process checks every topic and its settings before it begins, and while it runs.
    checks = [Right("topic", names.prefix, ("Describe", "DescribeConfigs"), prefixed=True)]
    return [*(checks if role in PROCESSES else []), *_on_topics(role, names), *_of_clients(role, names)]


def _on_topics(role: Role, names: Names) -> Iterator[Right]:
    for topic in TOPICS:
        may = {"Read": role in topic.read_by, "Write": role in topic.written_by}
        if any(may.values()):
            yield Right(
                "topic", topic.name_in(names), tuple(name for name, granted in may.items() if granted)
            )
        # The reader of a compacted topic joins no group, but brokers require the right to its group name.
        if topic.compacted and role in topic.read_by and topic.name_in(names) != names.outcomes_group:
            yield Right("group", topic.name_in(names), ("Read",))


def _of_clients(role: Role, names: Names) -> list[Right]:
    """Groups and transactional ids."""
    transact = ("Describe", "Write")
    match role:
        case "worker" | "indexer":
            group = names.worker_group if role == "worker" else names.indexer_group
            id_of = names.worker_transactional_id if role == "worker" else names.indexer_transactional_id
            return [
                Right("group", group, ("Read",)),
                Right("transactional-id", id_of(""), transact, prefixed=True),
            ]
        case "outcomes":
            return [
                Right("group", names.outcomes_group, ("Read",)),
                Right("transactional-id", names.outcomes_transactional_id, transact),
            ]
        case "reader":
            # Marquee's reader joins no group, but an application's does.
            return [Right("group", f"{names.prefix}reader", ("Read",), prefixed=True)]
    return []


def commands(role: Role, names: Names, principal: str, arguments: str) -> Iterator[str]:
    """Format `kafka-acls.sh` commands, one for rights that differ only in the name; `arguments` come first."""
    for (resource, operations, prefixed), alike in groupby(sorted(rights(role, names), key=_kind), key=_kind):
        allowed = " ".join(f"--operation {operation}" for operation in operations)
        resources = " ".join(f"--{resource} {shlex.quote(right.name)}" for right in alike)
        pattern = " --resource-pattern-type prefixed" if prefixed else ""
        yield (
            f"kafka-acls.sh {arguments} --add --allow-principal {shlex.quote(principal)} {allowed} "
            f"{resources}{pattern}"
        )


def _kind(right: Right) -> tuple[Resource, tuple[str, ...], bool]:
    return right.resource, right.operations, right.prefixed

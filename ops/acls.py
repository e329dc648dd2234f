"""What each role must be allowed on Kafka, and nothing else, as `kafka-acls` takes it."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

from schemas.topics import Names

Role = Literal["worker", "indexer", "outcomes", "producer", "reader", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
Resource = Literal["topic", "group", "transactional-id"]


@dataclass(frozen=True)
class Right:
    """Operations on a resource; with `prefixed`, on every one whose name begins so."""

    resource: Resource
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False


def rights(role: Role, names: Names) -> list[Right]:
    """The rights of a role; whoever may write to a topic may do so idempotently (KIP-679)."""
    match role:
        case "worker":
            return [
                # It looks whether all topics are there before it begins.
                Right("topic", names.prefix, ("Describe",), prefixed=True),
                Right("topic", names.profiles, ("Read",)),
                # What it has answered tells it where to go on, beside its group's offsets.
                Right("topic", names.recommendations, ("Read", "Write")),
                Right("topic", names.dead_letters, ("Read", "Write")),
                Right("topic", names.releases, ("Read", "Write")),
                Right("topic", names.withdrawals, ("Read",)),
                Right("group", names.worker_group, ("Read",)),
                # What follows a compacted topic joins no group, but brokers ask for the right to its name.
                Right("group", names.releases, ("Read",)),
                Right("group", names.withdrawals, ("Read",)),
                Right(
                    "transactional-id",
                    names.worker_transactional_id(""),
                    ("Describe", "Write"),
                    prefixed=True,
                ),
            ]
        case "indexer":
            return [
                Right("topic", names.prefix, ("Describe",), prefixed=True),
                Right("topic", names.release_commands, ("Read",)),
                Right("topic", names.releases, ("Read", "Write")),
                Right("group", names.indexer_group, ("Read",)),
                Right("group", names.releases, ("Read",)),
                Right(
                    "transactional-id",
                    names.indexer_transactional_id(""),
                    ("Describe", "Write"),
                    prefixed=True,
                ),
            ]
        case "outcomes":
            return [
                Right("topic", names.prefix, ("Describe",), prefixed=True),
                Right("topic", names.profiles, ("Read",)),
                Right("topic", names.recommendations, ("Read",)),
                Right("topic", names.feedback, ("Read",)),
                Right("topic", names.outcomes, ("Read", "Write")),
                Right("topic", names.dead_letters, ("Write",)),
                Right("group", names.outcomes_group, ("Read",)),
                Right("transactional-id", names.outcomes_transactional_id, ("Describe", "Write")),
            ]
        case "producer":
            return [
                Right("topic", names.profiles, ("Write",)),
                Right("topic", names.feedback, ("Write",)),
            ]
        case "reader":
            return [
                Right("topic", names.recommendations, ("Read",)),
                Right("topic", names.dead_letters, ("Read",)),
                # Ours reads without a group; an application has one of its own.
                Right("group", f"{names.prefix}reader", ("Read",), prefixed=True),
            ]
        case "admin":
            topic = ("Alter", "AlterConfigs", "Create", "Describe", "DescribeConfigs", "Read", "Write")
            return [
                Right("topic", names.prefix, topic, prefixed=True),
                Right("group", names.prefix, ("Describe", "Read"), prefixed=True),
                Right("transactional-id", names.redrive_transactional_id, ("Describe", "Write")),
            ]


def commands(role: Role, names: Names, principal: str, arguments: str) -> Iterator[str]:
    """`kafka-acls.sh` commands, one for rights that are alike; `arguments` come first (--bootstrap-server …)."""
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

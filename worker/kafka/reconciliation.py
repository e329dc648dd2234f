"""Whether a member of a KIP-848 group has been told what is to be its own.

The coordinator tells a new assignment once, in its answer to a heartbeat; again only to a heartbeat that says everything
about the member. librdkafka 2.16 sends such a one after a connection closed, but after a timeout it sends the same short
one again. The member then hears nothing of what it was given, or is to give up, and those partitions wait for it: until the
group changes, or for `max.poll.interval.ms`. So after a timeout the group is asked what it wants of us.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.kafka.aside import AdminProcess

log = logging.getLogger(__name__)

# Between two heartbeats lie 5 s (group.consumer.heartbeat.interval.ms): by then a member knows what it can.
TOLD_SECONDS = 6.0
_ASK_SECONDS = 2.0
_ANSWER_SECONDS = 5.0

Targets = dict[str, list[int] | None]
"""By member id, the partitions that the group has for it; None where it does not tell."""


def targets(settings: Settings) -> Targets:
    """What the group has for its members; called by `worker.kafka.aside`, because the coordinator may be away.

    Raises:
        KafkaException: Kafka did not answer in time.
    """
    admin, group = AdminClient(kafka.admin(settings.kafka, {"log_level": 0})), settings.names.worker_group
    described = admin.describe_consumer_groups([group], request_timeout=_ANSWER_SECONDS)[group].result()
    wanted = {member.member_id: member.target_assignment for member in described.members}
    return {
        member: None if target is None else [partition.partition for partition in target.topic_partitions]
        for member, target in wanted.items()
    }


class Reconciliation:
    """Compares what the group has for this member with what it holds, from a timeout until both are the same."""

    def __init__(self, settings: Settings, consumer: Consumer, pending: Callable[[], set[int]] = set) -> None:
        """`pending` gives the partitions that the member holds and has not assigned to the client yet."""
        self._settings = settings
        self._group = settings.names.worker_group
        self._consumer = consumer
        self._pending = pending
        self._timeouts = 0
        self._suspicious = False
        self._admin = AdminProcess()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reconciliation")
        self._asked: Future[Targets] | None = None
        self._ask_at = 0.0
        self._difference: tuple[set[int], set[int]] | None = None
        self._differs_since = 0.0

    def missed(self, timeouts: int) -> bool:
        """Whether an assignment was missed, so that only joining anew helps; asked in each turn, and never waits.

        Args:
            timeouts: of requests to the coordinator, since the client was made.
        """
        if timeouts != self._timeouts:
            self._timeouts, self._suspicious = timeouts, True
        if self._asked is not None:
            return self._asked.done() and self._compare(self._asked)
        if self._suspicious and time.monotonic() >= self._ask_at:
            self._ask()
        return False

    def close(self) -> None:
        """End the process that asks."""
        self._admin.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> None:
        self._ask_at = time.monotonic() + _ASK_SECONDS
        self._asked = self._thread.submit(self._call)

    def _call(self) -> Targets:
        return self._admin.call(targets, self._settings, seconds=_ANSWER_SECONDS)

    def _compare(self, answer: Future[Targets]) -> bool:
        self._asked = None
        try:
            target = answer.result().get(self._consumer.memberid() or "")
        except (KafkaException, UnreachableError) as error:  # asked again soon
            log.debug("cannot look what group %s has for us: %s", self._group, error)
            return False
        held = {partition.partition for partition in self._consumer.assignment()} | self._pending()
        wanted = held if target is None else set(target)
        if wanted == held:  # or the group does not know us: the next heartbeat says so
            self._forget()
            return False
        now = time.monotonic()
        if (wanted, held) != self._difference:
            self._difference, self._differs_since = (wanted, held), now
        if now - self._differs_since < TOLD_SECONDS:
            return False
        log.warning(
            "the group has partitions %s for us and we hold %s: its word was lost, joining anew",
            sorted(wanted),
            sorted(held),
        )
        self._forget()
        return True

    def _forget(self) -> None:
        self._suspicious, self._difference = False, None

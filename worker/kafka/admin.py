"""Questions to the admin client, asked in a child process: topic ids, and the target assignment of a member.

librdkafka 2.16 ends its process by a failed assertion where a broker goes away while an admin request waits for it
(`rd_kafka_enq_once_del_source_return`, seen under a load of 100 with a broker that was killed). A worker must not end by a
question, so a child asks; where the child ends, the next call starts another.
"""

import logging
import pickle
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Self, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from schemas import kafka
from schemas.errors import MarqueeError, UnreachableError
from schemas.settings import Settings
from worker.monitoring.waiting import Deadline

log = logging.getLogger(__name__)
T = TypeVar("T")

# Beyond a call's own limit: for the child to start, on a busy machine.
_START_SECONDS = 10.0
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # of a broker without topic ids: all bits are zero
# Between two heartbeats lie 5 s (group.consumer.heartbeat.interval.ms): by then a member has every assignment that was sent.
TOLD_SECONDS = 6.0
_ASK_SECONDS = 2.0
_ANSWER_SECONDS = 5.0

_admins: dict[str, AdminClient] = {}  # in a process that asks each second


class AdminProcess:
    """Starts the child at the first call. Any number of threads may share it; one call at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._calling = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: object, seconds: float) -> T:
        """Call a module's function in the child, and return its result or raise its error within `seconds`.

        Raises:
            UnreachableError: the child ended, or did not return in time; call again.
        """
        with self._calling:
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                pickle.dump((function, arguments), child.stdin)
                child.stdin.flush()
                _wait_for(child.stdout, seconds + _START_SECONDS)
                result, error = pickle.load(child.stdout)
            except (EOFError, OSError, pickle.UnpicklingError):
                self._end()
                raise UnreachableError(
                    "the process that asks Kafka about topics ended; asking again"
                ) from None
        if error is not None:
            raise error if isinstance(error, MarqueeError) else KafkaException(KafkaError(*error))
        return cast(T, result)

    def close(self) -> None:
        """End the child; a call under way raises UnreachableError."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
            with self._calling:
                self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise UnreachableError("this process is ending")
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "worker.kafka.admin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C in a terminal goes to the whole group: the parent ends its child itself.
                start_new_session=True,
            )
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):  # bytes that were not flushed have no reader
                    pipe.close()


def _wait_for(results: IO[bytes], seconds: float) -> None:
    """Wait for a result, which is read whole, so that the buffer is empty here. Raises EOFError where none comes in time."""
    poll = select.poll()
    poll.register(results, select.POLLIN)
    if not poll.poll(seconds * 1_000):
        raise EOFError


def topic_ids(settings: Settings, names: Sequence[str], timeout_s: float) -> dict[str, str]:
    """The id of each topic that exists: a topic that was deleted and created again has another. Called through `AdminProcess`.

    A topic is left out where the broker gives no ids.

    Raises:
        KafkaException: Kafka did not answer within `timeout_s`.
    """
    asked = _admin(settings).describe_topics(TopicCollection(list(names)), request_timeout=timeout_s)
    found = {}
    for name, future in asked.items():
        try:
            found[name] = str(future.result().topic_id)
        except KafkaException as exception:
            if exception.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return {name: topic_id for name, topic_id in found.items() if topic_id != _NO_ID}


Targets = dict[str, list[int] | None]
"""The target partitions by member id; None where the group gives none."""


def targets(settings: Settings) -> Targets:
    """The target assignment of each member of the worker's group. Called through `AdminProcess`.

    Raises:
        KafkaException: Kafka did not answer in time.
    """
    group = settings.names.worker_group
    asked = _admin(settings).describe_consumer_groups([group], request_timeout=_ANSWER_SECONDS)
    wanted = {member.member_id: member.target_assignment for member in asked[group].result().members}
    return {
        member: None if target is None else [partition.partition for partition in target.topic_partitions]
        for member, target in wanted.items()
    }


def _admin(settings: Settings) -> AdminClient:
    key = settings.kafka.model_dump_json()
    if key not in _admins:
        _admins[key] = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    return _admins[key]


class Reconciliation:
    """Compares the target assignment of this KIP-848 member with its owned partitions, from a timeout until both agree.

    The coordinator sends a new assignment once, in its answer to a heartbeat; again only to a heartbeat with all fields of the
    member. librdkafka 2.16 sends such a heartbeat after a connection closed, but after a timeout it repeats the short one. The
    member then misses the assignment, and those partitions wait for it: until the group changes, or for `max.poll.interval.ms`.
    """

    def __init__(self, settings: Settings, consumer: Consumer, pending: Callable[[], set[int]] = set) -> None:
        """`pending` gives the partitions that the member owns and has not assigned to the client yet."""
        self._settings = settings
        self._consumer = consumer
        self._pending = pending
        self._timeouts = 0
        self._suspicious = False
        self._process = AdminProcess()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reconciliation")
        self._asked: Future[Targets] | None = None
        self._next_question = Deadline(0.0)
        self._difference: tuple[set[int], set[int]] | None = None
        self._patience = Deadline(0.0)

    def missed(self, timeouts: int) -> bool:
        """Whether this member missed an assignment, and only rejoining the group helps. Never waits.

        Args:
            timeouts: of requests to the coordinator, since the client was made.
        """
        if timeouts != self._timeouts:
            self._timeouts, self._suspicious = timeouts, True
        if self._asked is not None:
            return self._asked.done() and self._compare(self._asked)
        if self._suspicious and self._next_question.passed:
            self._next_question = Deadline(_ASK_SECONDS)
            self._asked = self._thread.submit(self._ask)
        return False

    def close(self) -> None:
        """End the process that asks."""
        self._process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> Targets:
        return self._process.call(targets, self._settings, seconds=_ANSWER_SECONDS)

    def _compare(self, answer: Future[Targets]) -> bool:
        self._asked = None
        try:
            target = answer.result().get(self._consumer.memberid() or "")
        except (KafkaException, UnreachableError) as error:  # asked again soon
            log.debug("target assignment not known: %s", error)
            return False
        owned = {partition.partition for partition in self._consumer.assignment()} | self._pending()
        wanted = owned if target is None else set(target)
        if wanted == owned:  # or the group does not know this member: the next heartbeat reports that
            self._forget()
            return False
        if (wanted, owned) != self._difference:
            self._difference, self._patience = (wanted, owned), Deadline(TOLD_SECONDS)
        if not self._patience.passed:
            return False
        log.warning(
            "missed assignment: target %s, owned %s; rejoining the group", sorted(wanted), sorted(owned)
        )
        self._forget()
        return True

    def _forget(self) -> None:
        self._suspicious, self._difference = False, None


def _serve() -> None:
    """Call each function that comes in on stdin, until the parent has gone."""
    calls, results = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # prints of a library are no results
    while True:
        try:
            function, arguments = pickle.load(calls)
        except EOFError:
            return
        result = error = None
        try:
            result = function(*arguments)
        except Exception as raised:  # noqa: BLE001  raised again in the parent
            error = _picklable(raised)
        pickle.dump((result, error), results)
        results.flush()


def _picklable(error: Exception) -> tuple[int, str] | MarqueeError:
    """An error that can pass the pipe: the client's own cannot be pickled."""
    if isinstance(error, KafkaException):
        return error.args[0].code(), error.args[0].str()
    return error if isinstance(error, MarqueeError) else MarqueeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _serve()

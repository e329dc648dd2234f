"""Publishing: results, dead letters and offsets, together or not at all (exactly once), or results first (at least once).

What can go wrong, and what happens next, is the same for both: `RefusedError`, `UndoneError`, or the process ends.

`publish` runs in the publishing thread, `settle` and `forget` in the one that polls: the client lets one thread at a time
into a consumer, so a second one would wait for a pause in the polling that never comes.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas import kafka
from schemas.errors import FatalKafkaError, SettingsError
from schemas.settings import Settings
from worker.errors import RefusedError, UndoneError
from worker.events import Answer, Record, positions_after
from worker.kafka.calls import CallWatch
from worker.kafka.refusals import (
    REFUSED_FOR_WHAT_THEY_ARE,
    Deliveries,
    refusal,
    refused_at_once,
    undelivered_words,
)
from worker.kafka.remedies import remedy
from worker.monitoring.failpoints import failpoint

log = logging.getLogger(__name__)

# One wait for a transactional id; it is repeated for as long as Kafka is away.
CALL_SECONDS = 10.0
# For a call within a transaction, and a flush without one. Of three brokers one that is cut off is out after 2 to 5 s, and taking
# the transactional id anew and going back takes 2 to 3 s more: with two left, nothing may stand still for 10 s.
TRANSACTION_SECONDS = 4.0
# How often it is looked up who we are in a group of KIP-848, whose epoch changes without a callback.
NOTE_SECONDS = 0.1


def raise_if_final(error: KafkaError) -> None:
    """Sort out what no waiting mends.

    Raises:
        SettingsError: Kafka knows us and refuses.
        FatalKafkaError: this client is at its end (fenced, for one).
    """
    if to_do := remedy(error):
        raise SettingsError(f"Kafka refused us: {error.str()}; {to_do}")
    # A consumer tells of its end by this code alone, and does not call it fatal.
    if error.fatal() or error.code() == KafkaError._FATAL:
        raise FatalKafkaError(f"Kafka ended this client: {error.str()}; a new process can go on")


class Publisher(Protocol):
    """One way to publish answers and the positions after them."""

    calls: CallWatch

    def start(self) -> None: ...

    def publish(self, answers: Sequence[Answer], is_ours: Callable[[], bool]) -> list[TopicPartition]: ...

    def settle(self, *, regrouped: bool) -> None: ...

    def forget(self) -> None: ...

    def renew(self) -> None: ...

    def learn(self, topics: list[str], timeout_s: float) -> None: ...


def _produce(producer: Producer, records: Sequence[Record]) -> None:
    """Hand records over; raises as `publish`."""
    for number, record in enumerate(records):
        while True:
            try:
                if record.headers:
                    producer.produce(
                        record.topic, record.value, record.key, record.partition, headers=record.headers
                    )
                else:  # naming none costs half of what the whole call does
                    producer.produce(record.topic, record.value, record.key, record.partition)
                break
            except BufferError:  # the local queue is full: let it drain
                producer.poll(0.05)
            except KafkaException as exception:
                raise_if_final(exception.args[0])
                raise refused_at_once(exception.args[0], record) from None
        if number == 0:
            failpoint("after-first-produce", producer)
    producer.poll(0)


class ExactlyOnce:
    """One transaction holds the results, the dead letters and the offsets of what they answer."""

    def __init__(self, settings: Settings, worker_id: str, consumer: Consumer) -> None:
        self._config = kafka.transactional_producer(
            settings.kafka,
            settings.names.worker_transactional_id(worker_id),
            settings.worker.transaction_timeout_ms,
            {"delivery.report.only.error": True},
        )
        self._unanswered_seconds = float(self._config["socket.timeout.ms"]) / 1_000
        self._consumer = consumer
        self._group: object = None
        self._note_seconds = NOTE_SECONDS if settings.worker.group_protocol == "consumer" else math.inf
        self._noted_at = 0.0
        self._producer: Producer | None = None
        self._deliveries = Deliveries()
        self._starting = threading.Lock()  # of two producers the later one fences the earlier
        self.calls = CallWatch()

    def start(self) -> None:
        """Take the transactional id, where no producer has it: fences a predecessor, and ends the transaction that it left open.

        Raises:
            UndoneError: Kafka did not answer; call again.
        """
        with self._starting:
            if self._producer is not None:
                return
            deliveries = Deliveries()
            producer = Producer(self._config | {"on_delivery": deliveries})
            with self._sorted("init_transactions"):
                producer.init_transactions(CALL_SECONDS)
            self._producer, self._deliveries = producer, deliveries

    def publish(self, answers: Sequence[Answer], is_ours: Callable[[], bool]) -> list[TopicPartition]:
        """Commit the answers and the positions after them, which are returned, or nothing.

        Raises:
            UndoneError: nothing was committed, or the outcome is unknown: positions must be read back from Kafka.
            RefusedError: not committed, for what the records are.
            FatalKafkaError, SettingsError: as `raise_if_final`.
        """
        self.start()
        producer, deliveries = self._producer, self._deliveries
        assert producer is not None
        # 1. Who we are in the group, before asking whether the batch is still ours: if it is lost in between,
        #    the broker knows this metadata for old and refuses.
        group = self._group
        if not is_ours():
            raise UndoneError("the partitions were lost before publishing")
        positions = positions_after(answer.event for answer in answers)
        try:
            # 2. Results and dead letters, then the offsets of what they answer, into one transaction.
            with self._sorted("begin_transaction"):
                failpoint("before-begin")
                producer.begin_transaction()
            with self._sorted("produce"):
                _produce(producer, [answer.record for answer in answers])
            self._send_offsets(producer, positions, group)
            # 3. Commit flushes first, and fails by itself on what could not be delivered.
            with self._sorted("commit_transaction"):
                failpoint("before-commit")
                producer.commit_transaction(TRANSACTION_SECONDS)
                failpoint("after-commit")
        except (RefusedError, UndoneError) as error:
            # 4. Give the producer up, whatever is known of the outcome: the `init_transactions` of a new one aborts or
            #    settles it. One that is kept remembers coordinators from before the broker went away, and can wait for
            #    them for ever (librdkafka issue 5511).
            self._give_up(producer)
            # What the broker refused for what it is was not delivered, so no commit can have landed.
            producer.poll(0)
            undelivered = deliveries.take()
            if refused := refusal(undelivered):
                raise refused from None
            # 5. Go back: the pipeline has a new producer take our id, then the stream reads every position back.
            if undelivered and isinstance(error, UndoneError):
                raise UndoneError(f"{error}; {undelivered_words(undelivered)}") from None
            raise
        if self.calls.seconds("commit_transaction") >= self._unanswered_seconds:
            # Committed, after some broker had not answered. To remember that one would hold up the next transaction, too.
            self._give_up(producer)
        return positions

    def settle(self, *, regrouped: bool) -> None:
        """Note who we are in the group: after what the last poll has changed, and before anything of it is published.

        The client answers from a thread of its own while we hold the interpreter's lock, a fifth of the time in which it
        is held at all if it is asked ten times a second. So it is asked when a callback told of a change or something was
        undone, and now and then only where KIP-848 changes the epoch without one. To be late is safe: the group refuses
        who we were, and that undoes.

        One who has just been put out of the group is nobody, and a group lets nobody's offsets pass: so who we were is
        kept, which it refuses.
        """
        now = time.monotonic()
        if not regrouped and self._group is not None and now < self._noted_at + self._note_seconds:
            return
        self._noted_at = now
        group = self._consumer.consumer_group_metadata()
        if self._consumer.memberid():
            self._group = group

    def forget(self) -> None:
        """Nothing is kept between transactions."""

    def renew(self) -> None:
        """Leave the producer to the call that it hangs in: the next `start` fences it, so that nothing of it can land later."""
        self._producer = None
        self.calls = CallWatch()

    def learn(self, topics: list[str], timeout_s: float) -> None:
        """Ask how many partitions these topics have, which have grown; a new producer asks by itself. From any thread."""
        if (producer := self._producer) is not None:
            _learn(producer, topics, timeout_s)

    def _give_up(self, producer: Producer) -> None:
        if self._producer is producer:
            self._producer = None

    def _send_offsets(self, producer: Producer, positions: list[TopicPartition], group: object) -> None:
        with self._sorted("send_offsets_to_transaction"):
            producer.send_offsets_to_transaction(positions, group, TRANSACTION_SECONDS)
            failpoint("after-send-offsets")

    @contextmanager
    def _sorted(self, call: str) -> Iterator[None]:
        """Run one call under the watch, and sort its error by what happens next."""
        with self.calls.of(call):
            try:
                yield
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                raise_if_final(error)
                raise UndoneError(f"{call}: {error.str()}") from None


class AtLeastOnce:
    """Results first, then the offsets: a crash in between repeats results, and loses none."""

    def __init__(self, settings: Settings, consumer: Consumer) -> None:
        self._deliveries = Deliveries()
        self._producer = Producer(
            kafka.producer(
                settings.kafka, {"on_delivery": self._deliveries, "delivery.report.only.error": True}
            )
        )
        self._consumer = consumer
        self._delivered: SimpleQueue[list[TopicPartition]] = SimpleQueue()
        self.calls = CallWatch()

    def start(self) -> None:
        """Nothing to take: there is no transactional id."""

    def publish(self, answers: Sequence[Answer], is_ours: Callable[[], bool]) -> list[TopicPartition]:
        """Deliver the answers; the positions after them are committed by `settle`. Raises as `ExactlyOnce.publish`."""
        if not is_ours():
            raise UndoneError("the partitions were lost before publishing")
        self._deliveries.take()
        with self.calls.of("flush"):
            try:
                _produce(self._producer, [answer.record for answer in answers])
            finally:  # one that is refused at once leaves none of the others under way
                undelivered = self._producer.flush(TRANSACTION_SECONDS)
        errors = self._deliveries.take()
        for error, _ in errors:
            raise_if_final(error)
        refused = refusal(errors)
        if refused and all(error.code() in REFUSED_FOR_WHAT_THEY_ARE for error, _ in errors):
            raise refused
        if errors or undelivered:
            raise UndoneError(undelivered_words(errors) or "Kafka did not take the results in time")
        positions = positions_after(answer.event for answer in answers)
        self._delivered.put(positions)
        return positions

    def settle(self, *, regrouped: bool) -> None:  # noqa: ARG002  positions may go at any time
        """Commit the positions after what was delivered; what fails is answered again by whoever gets it."""
        positions: dict[tuple[str, int], TopicPartition] = {}
        while not self._delivered.empty():
            positions |= {
                (position.topic, position.partition): position for position in self._delivered.get()
            }
        if positions:
            try:
                self._consumer.commit(offsets=list(positions.values()), asynchronous=False)
            except KafkaException as exception:
                raise_if_final(exception.args[0])
                log.warning(
                    "positions not committed, some results will be repeated: %s", exception.args[0].str()
                )

    def forget(self) -> None:
        """Leave the positions of lost partitions to whoever has them now."""
        while not self._delivered.empty():
            self._delivered.get()

    def renew(self) -> None:
        """Its calls end in time."""

    def learn(self, topics: list[str], timeout_s: float) -> None:
        """As `ExactlyOnce.learn`."""
        _learn(self._producer, topics, timeout_s)


def _learn(producer: Producer, topics: list[str], timeout_s: float) -> None:
    for topic in topics:
        producer.list_topics(topic, timeout=timeout_s)

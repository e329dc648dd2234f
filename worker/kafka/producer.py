"""A transactional producer made safe: its calls are watched, and one whose outcome is unknown is thrown away.

`init_transactions` of the next producer aborts or completes the transaction that the last one left open. A producer that is kept
remembers coordinators from before a broker went away, and can wait for them without end (librdkafka issue 5511).
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.errors import SettingsError
from schemas.kafka import Config
from worker.errors import AbortedError, RefusedError
from worker.events import Record
from worker.kafka.errors import Undelivered, raise_if_final, refusal, refused_at_once, undelivered_words
from worker.monitoring.failpoints import failpoint

# One `init_transactions`; it is repeated for as long as Kafka is away.
CALL_SECONDS = 10.0
_ROOM_SECONDS = 0.05


class WatchedCalls:
    """Runs one call of librdkafka at a time, and measures it: a call can outlive its timeout, so another thread looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._call: tuple[str, float] | None = None
        self._seconds: dict[str, float] = {}

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Measure one call, and raise its error by what happens next.

        Raises:
            AbortedError: the call failed, or its outcome is unknown.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        began = time.monotonic()
        with self._lock:
            self._call = (name, began)
        try:
            yield
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            raise AbortedError(f"{name}: {exception.args[0].str()}") from None
        finally:
            with self._lock:
                self._call = None
                self._seconds[name] = time.monotonic() - began

    def seconds(self, name: str) -> float:
        """Duration of the last call of this name; 0.0 where there was none."""
        return self._seconds.get(name, 0.0)

    def longest(self) -> tuple[str, float]:
        """Name of the call under way and its seconds so far; `("", 0.0)` where there is none."""
        with self._lock:
            return (self._call[0], time.monotonic() - self._call[1]) if self._call else ("", 0.0)


class Deliveries:
    """Collects delivery errors. With `delivery.report.only.error` a delivered record costs no callback."""

    def __init__(self) -> None:
        self.errors: list[Undelivered] = []

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.errors.append((error, str(message.topic())))

    def take(self) -> list[Undelivered]:
        """The errors since the last call."""
        errors, self.errors = self.errors, []
        return errors


class Transaction:
    """An open transaction of one producer."""

    def __init__(
        self, producer: Producer, deliveries: Deliveries, calls: WatchedCalls, call_seconds: float
    ) -> None:
        self.producer, self._deliveries, self._calls = producer, deliveries, calls
        self._call_seconds = call_seconds

    def begin(self) -> None:
        """Raises as `WatchedCalls.watch`."""
        with self._calls.watch("begin_transaction"):
            failpoint("before-begin")
            self.producer.begin_transaction()

    def produce(self, records: Iterable[Record]) -> None:
        """Hand records over to the client, waiting while its queue is full.

        Raises:
            RefusedError: the client refuses a record.
            AbortedError, SettingsError, FatalKafkaError: as `WatchedCalls.watch`.
        """
        with self._calls.watch("produce"):
            for number, record in enumerate(records):
                self._produce(record)
                if number == 0:
                    failpoint("after-first-produce", self.producer)
            self.producer.poll(0)

    def _produce(self, record: Record) -> None:
        while True:
            try:
                if record.headers:
                    self.producer.produce(
                        record.topic, record.value, record.key, record.partition, headers=record.headers
                    )
                else:  # an empty list of headers would cost half of the call
                    self.producer.produce(record.topic, record.value, record.key, record.partition)
                return
            except BufferError:
                self.producer.poll(_ROOM_SECONDS)
            except KafkaException as exception:
                raise_if_final(exception.args[0])
                raise refused_at_once(exception.args[0], record) from None

    def flush(self) -> None:
        """Wait until everything that was produced is delivered. Raises as `produce`."""
        left = self.producer.flush(self._call_seconds)
        undelivered = self._deliveries.take()
        if refused := refusal(undelivered):
            raise refused
        if left or undelivered:
            raise AbortedError(undelivered_words(undelivered) or "a record was not delivered in time")

    def send_offsets(self, offsets: list[TopicPartition], group: object) -> None:
        """Add the offsets of a group, whose metadata fences members of an older assignment. Raises as `WatchedCalls.watch`."""
        with self._calls.watch("send_offsets_to_transaction"):
            self.producer.send_offsets_to_transaction(offsets, group, self._call_seconds)
            failpoint("after-send-offsets")

    def commit(self) -> None:
        """Commit, which flushes first and fails by itself on records that were not delivered. Raises as `WatchedCalls.watch`."""
        with self._calls.watch("commit_transaction"):
            failpoint("before-commit")
            self.producer.commit_transaction(self._call_seconds)
            failpoint("after-commit")

    @property
    def commit_seconds(self) -> float:
        """Duration of the commit."""
        return self._calls.seconds("commit_transaction")

    def cause(self, error: RefusedError | AbortedError) -> RefusedError | AbortedError:
        """The error to raise for a failed transaction: the refusal of a record, where there was one."""
        if isinstance(error, RefusedError):
            return error
        self.producer.poll(0)
        undelivered = self._deliveries.take()
        if refused := refusal(undelivered):  # a record that was not delivered lets no commit land
            return refused
        return AbortedError("; ".join(filter(None, (str(error), undelivered_words(undelivered)))))


class TransactionalProducer:
    """Holds a transactional id, with one producer after another."""

    def __init__(self, config: Config, call_seconds: float = CALL_SECONDS) -> None:
        """Take the configuration of `schemas.kafka.transactional_producer`; `call_seconds` bound a call within a transaction."""
        self._config = config | {"delivery.report.only.error": True}
        self._call_seconds = call_seconds
        self._producer: Producer | None = None
        self._deliveries = Deliveries()
        self._starting = threading.Lock()  # of two producers the later one fences the earlier
        self.calls = WatchedCalls()

    def start(self) -> None:
        """Run `init_transactions` on a new producer, unless there is one: fences the last owner and ends its open transaction.

        Raises:
            AbortedError: Kafka did not answer; call again.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        with self._starting:
            if self._producer is not None:
                return
            deliveries = Deliveries()
            producer = self._made(deliveries)
            with self.calls.watch("init_transactions"):
                producer.init_transactions(CALL_SECONDS)
            self._producer, self._deliveries = producer, deliveries

    def _made(self, deliveries: Deliveries) -> Producer:
        try:
            return Producer(self._config | {"on_delivery": deliveries})
        except KafkaException as exception:
            raise SettingsError(
                f"the Kafka client refuses its settings ({exception.args[0].str()}); check the MARQUEE_KAFKA__… settings"
            ) from None

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A transaction of the producer of this moment; it begins with the block and commits at its end.

        Raises, at the block:
            AbortedError: nothing was committed, or the outcome is unknown; the producer is thrown away.
            RefusedError: nothing was committed, because a record was refused; the producer is thrown away.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        producer = self._producer
        assert producer is not None, "call `start` first"
        return self._run(Transaction(producer, self._deliveries, self.calls, self._call_seconds))

    @contextmanager
    def _run(self, transaction: Transaction) -> Iterator[Transaction]:
        try:
            transaction.begin()
            yield transaction
            transaction.commit()
        except (RefusedError, AbortedError) as error:
            self.throw_away(transaction)
            raise transaction.cause(error) from None

    def throw_away(self, transaction: Transaction) -> None:
        """Have the next `start` make another producer than the one of this transaction."""
        if self._producer is transaction.producer:
            self._producer = None

    def discard(self) -> None:
        """Leave the producer to the call that hangs in it; the next `start` fences it, so that nothing of it can land later.

        An `init_transactions` that timed out would go on in a producer that is kept, and fence its successor.
        """
        self._producer = None
        self.calls = WatchedCalls()

    def refresh_partitions(self, topics: Iterable[str], timeout_s: float) -> None:
        """Look up how many partitions these topics have by now; a new producer does so by itself. From any thread."""
        producer = self._producer
        for topic in topics:
            if producer is not None:
                producer.list_topics(topic, timeout=timeout_s)

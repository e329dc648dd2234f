"""What was counted and how far was read, on Kafka: read back whole, written in one transaction."""

import logging
from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaException, Producer
from pydantic import BaseModel

from schemas import kafka
from schemas.feedback import (
    OUTCOMES_KEY_PREFIX,
    POSITIONS_KEY,
    OutcomesPositions,
    OutcomesRecord,
    outcomes_key,
    read_outcomes,
    read_positions,
)
from schemas.settings import Settings
from worker.errors import RefusedError, UndoneError
from worker.events import Record
from worker.indexer.state import sorted_out
from worker.kafka.compacted import CompactedReader
from worker.kafka.publish import CALL_SECONDS, raise_if_final
from worker.kafka.refusals import Deliveries, Undelivered, refusal, refused_at_once, undelivered_words

log = logging.getLogger(__name__)

_READ_SECONDS = 30.0
_TRANSACTION_MS = 30_000
_ROOM_SECONDS = 0.05


class RefusedLetterError(RefusedError):
    """A dead letter was refused for what it is, and nothing is committed; `number` says which of those that were handed over."""

    def __init__(self, refused: RefusedError, number: int) -> None:
        super().__init__(str(refused), refused.remedy)
        self.number = number


class Ledger:
    """The topic `outcomes`, and the one transactional id that may write to it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.names.outcomes
        self._warned = False
        self._config = kafka.transactional_producer(
            settings.kafka,
            settings.names.outcomes_transactional_id,
            _TRANSACTION_MS,
            {"delivery.report.only.error": True},
        )
        self._begin()

    def take(self) -> None:
        """Fence a predecessor: what is read after this is not changed by anybody else. Raises as `sorted_out`."""
        sorted_out("init_transactions", lambda: self._producer.init_transactions(CALL_SECONDS))

    def read(self) -> tuple[OutcomesPositions | None, list[OutcomesRecord]]:
        """How far was read, None where nobody has ever; and all that was counted.

        Raises:
            UnreachableError: Kafka does not answer; to be repeated.
            UnreadableOutcomesError: a record is malformed or newer, so that what was counted is not known.
        """
        found = _Found(self._topic, warn=not self._warned)
        self._warned = True
        reader: CompactedReader[None] = CompactedReader(self._settings, self._topic, "outcomes", found.apply)
        try:
            reader.read_to_end(_READ_SECONDS, settled=True)
        finally:
            reader.close()
        return found.positions(), found.records()

    def write(
        self,
        records: Iterable[OutcomesRecord],
        letters: Sequence[Record],
        positions: OutcomesPositions,
        *,
        apart: bool = False,
    ) -> None:
        """Commit what was counted, what could not be read, and how far was read: all of it or nothing.

        `apart` has each letter delivered before the next: a broker refuses a whole batch, and this finds the one at fault.

        Raises:
            RefusedLetterError: with `apart`, of a letter; nothing was committed, and the ledger can be written again.
            RefusedError: in the same way, of any record.
            UndoneError: nothing was committed, or nobody knows: begin again from `read`, with another ledger.
            SettingsError, FatalKafkaError: as `sorted_out`.
        """
        sorted_out("begin_transaction", self._producer.begin_transaction)
        try:
            for record in records:
                self._hand_over(
                    self._record(outcomes_key(record.since, record.release, record.segment), record)
                )
            self._hand_over(self._record(POSITIONS_KEY, positions))
            self._hand_over_letters(letters, apart)
            sorted_out("commit_transaction", lambda: self._producer.commit_transaction(CALL_SECONDS))
        except (RefusedError, UndoneError) as error:
            self._producer.poll(0)
            undelivered = self._deliveries.take()
            refused = error if isinstance(error, RefusedError) else refusal(undelivered)
            if refused is None:
                raise UndoneError(_words(error, undelivered)) from None
            # A new producer aborts what the old one left: an aborted one may refuse the next transaction's records, too.
            self._begin()
            self.take()
            raise refused from None

    def _begin(self) -> None:
        self._deliveries = Deliveries()
        self._producer = Producer(self._config | {"on_delivery": self._deliveries})

    def close(self) -> None:
        """Let the producer go: an `init_transactions` that timed out would go on in it, and fence its successor."""
        del self._producer

    def _hand_over_letters(self, letters: Sequence[Record], apart: bool) -> None:
        if apart:
            self._deliver()
        for number, letter in enumerate(letters):
            try:
                self._hand_over(letter)
                if apart:
                    self._deliver()
            except RefusedError as refused:
                raise RefusedLetterError(refused, number) from None

    def _hand_over(self, record: Record) -> None:
        """Raises RefusedError or UndoneError where the client itself does not take it, and as `raise_if_final`."""
        while True:
            try:
                if record.topic == self._topic:
                    self._producer.produce(record.topic, record.value, record.key, partition=record.partition)
                else:  # where its key belongs: feedback may have other partitions than dead letters
                    self._producer.produce(record.topic, record.value, record.key, headers=record.headers)
                self._producer.poll(0)
                return
            except BufferError:  # the local queue is full: let it drain
                self._producer.poll(_ROOM_SECONDS)
            except KafkaException as exception:
                raise_if_final(exception.args[0])
                raise refused_at_once(exception.args[0], record) from None

    def _deliver(self) -> None:
        """Wait for what was handed over; raises as `_hand_over`."""
        left = self._producer.flush(CALL_SECONDS)
        undelivered = self._deliveries.take()
        if refused := refusal(undelivered):
            raise refused
        if left or undelivered:
            raise UndoneError(undelivered_words(undelivered) or "a record was not delivered in time")

    def _record(self, key: str, record: BaseModel) -> Record:
        return Record(self._topic, 0, key.encode(), record.model_dump_json().encode(), [])


def _words(error: Exception, undelivered: list[Undelivered]) -> str:
    return "; ".join(filter(None, (str(error), undelivered_words(undelivered))))


class _Found:
    """The newest record of each key of ours; keys of others are ignored."""

    def __init__(self, topic: str, *, warn: bool) -> None:
        self._topic, self._warn = topic, warn
        self._newest: dict[bytes, bytes] = {}

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        if key is None or not (key == POSITIONS_KEY.encode() or key.startswith(OUTCOMES_KEY_PREFIX.encode())):
            if self._warn:
                log.warning(
                    "%s has a record of another's key %r: ignored, as are all like it", self._topic, key
                )
            self._warn = False
            return
        self._newest.pop(key, None)
        if value:
            self._newest[key] = value

    def positions(self) -> OutcomesPositions | None:
        """Raises UnreadableOutcomesError."""
        key = POSITIONS_KEY.encode()
        value = self._newest.get(key)
        return None if value is None else read_positions(self._topic, key, value)

    def records(self) -> list[OutcomesRecord]:
        """Raises UnreadableOutcomesError."""
        prefix = OUTCOMES_KEY_PREFIX.encode()
        return [
            read_outcomes(self._topic, key, value)
            for key, value in self._newest.items()
            if key.startswith(prefix)
        ]

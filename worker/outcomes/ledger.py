"""What was counted and how far was read, on Kafka: read back whole, written in one transaction."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

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
from worker.errors import RefusedError
from worker.events import Record
from worker.kafka.producer import Transaction, TransactionalProducer
from worker.kafka.reader import CompactedReader

log = logging.getLogger(__name__)

_READ_SECONDS = 30.0
_TRANSACTION_MS = 30_000
_BY_KEY = -1  # feedback may have other partitions than dead letters


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
        self._producer = TransactionalProducer(
            kafka.transactional_producer(
                settings.kafka, settings.names.outcomes_transactional_id, _TRANSACTION_MS
            )
        )
        self.start, self.close = self._producer.start, self._producer.discard

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
            AbortedError: nothing was committed, or the outcome is unknown: begin again from `read`, with another ledger.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        try:
            with self._producer.transaction() as transaction:
                transaction.produce(self._counted(records, positions))
                self._produce_letters(transaction, letters, apart)
        except RefusedError:
            # Before anything else: a successor that took the id meanwhile must fence this process.
            self.start()
            raise

    def _counted(self, records: Iterable[OutcomesRecord], positions: OutcomesPositions) -> Iterable[Record]:
        for record in records:
            yield self._record(outcomes_key(record.since, record.release, record.segment), record)
        yield self._record(POSITIONS_KEY, positions)

    def _produce_letters(self, transaction: Transaction, letters: Sequence[Record], apart: bool) -> None:
        if apart:
            transaction.flush()
        for number, letter in enumerate(letters):
            try:
                transaction.produce([replace(letter, partition=_BY_KEY)])
                if apart:
                    transaction.flush()
            except RefusedError as refused:
                raise RefusedLetterError(refused, number) from None

    def _record(self, key: str, record: BaseModel) -> Record:
        return Record(self._topic, 0, key.encode(), record.model_dump_json().encode(), [])


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

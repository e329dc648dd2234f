"""The ledger: counts and positions in the topic `outcomes`, read whole, and written in one transaction."""

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
_POSITIONS, _PREFIX = POSITIONS_KEY.encode(), OUTCOMES_KEY_PREFIX.encode()


class RefusedLetterError(RefusedError):
    """The dead letter with this number was refused, and nothing is committed."""

    def __init__(self, refused: RefusedError, number: int) -> None:
        super().__init__(str(refused), refused.remedy)
        self.number = number


class Ledger:
    """Holds the one transactional id that writes to `outcomes`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.names.outcomes
        self._warned = False
        transactional_id = settings.names.outcomes_transactional_id
        self._producer = TransactionalProducer(
            kafka.transactional_producer(settings.kafka, transactional_id, _TRANSACTION_MS)
        )
        self.start, self.close = self._producer.start, self._producer.discard

    def read(self) -> tuple[OutcomesPositions | None, list[OutcomesRecord]]:
        """The committed positions, None before the first commit, and the committed counts.

        Raises:
            UnreachableError: Kafka does not answer; call again.
            UnreadableOutcomesError: a record is malformed or of a newer format, so that the counts are unknown.
        """
        newest: dict[bytes, bytes] = {}

        def apply(key: bytes | None, value: bytes | None) -> None:
            if key is None or not (key == _POSITIONS or key.startswith(_PREFIX)):
                self._warn_once(key)
                return
            newest.pop(key, None)
            if value:
                newest[key] = value

        reader: CompactedReader[None] = CompactedReader(self._settings, self._topic, "outcomes", apply)
        try:
            reader.read_to_end(_READ_SECONDS, settled=True)
        finally:
            reader.close()
        positions = newest.pop(_POSITIONS, None)
        return (
            read_positions(self._topic, _POSITIONS, positions) if positions else None,
            [read_outcomes(self._topic, key, value) for key, value in newest.items()],
        )

    def write(
        self,
        records: Iterable[OutcomesRecord],
        letters: Sequence[Record],
        positions: OutcomesPositions,
        *,
        apart: bool = False,
    ) -> None:
        """Commit counts, dead letters and positions, or nothing.

        With `apart` each letter is delivered before the next is produced: a broker refuses a whole batch, and this identifies
        the refused letter.

        Raises:
            RefusedLetterError: a letter was refused, and nothing is committed; write again.
            RefusedError: a record was refused, and nothing is committed; write again.
            AbortedError: nothing was committed, or the outcome is unknown; read again.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        try:
            with self._producer.transaction() as transaction:
                transaction.produce(self._records(records, positions))
                _produce_letters(transaction, letters, apart)
        except RefusedError:
            # At once: a successor that took the id meanwhile must fence this process.
            self.start()
            raise

    def _records(self, records: Iterable[OutcomesRecord], positions: OutcomesPositions) -> Iterable[Record]:
        for record in records:
            yield self._record(outcomes_key(record.since, record.release, record.segment), record)
        yield self._record(POSITIONS_KEY, positions)

    def _record(self, key: str, record: BaseModel) -> Record:
        return Record(self._topic, 0, key.encode(), record.model_dump_json().encode(), [])

    def _warn_once(self, key: bytes | None) -> None:
        if not self._warned:
            log.warning(
                "%s has a record with a foreign key %r: ignored, as are all like it", self._topic, key
            )
        self._warned = True


def _produce_letters(transaction: Transaction, letters: Sequence[Record], apart: bool) -> None:
    if apart:
        transaction.flush()
    for number, letter in enumerate(letters):
        try:
            transaction.produce([replace(letter, partition=_BY_KEY)])
            if apart:
                transaction.flush()
        except RefusedError as refused:
            raise RefusedLetterError(refused, number) from None

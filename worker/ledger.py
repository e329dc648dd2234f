"""What was counted and how far was read, on Kafka: read back whole, written in one transaction."""

from collections.abc import Iterable, Sequence

from confluent_kafka import Producer
from pydantic import BaseModel

from schemas import kafka
from schemas.feedback import (
    OUTCOMES_KEY_PREFIX,
    POSITIONS_KEY,
    OutcomesPositions,
    OutcomesRecord,
    outcomes_key,
)
from schemas.settings import Settings
from worker.batch import Record
from worker.compacted import CompactedReader
from worker.publish import CALL_SECONDS
from worker.state import sorted_out

_READ_SECONDS = 30.0
_TRANSACTION_MS = 30_000


class Ledger:
    """The topic `outcomes`, and the one transactional id that may write to it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.names.outcomes
        self._producer = Producer(
            kafka.transactional_producer(
                settings.kafka, settings.names.outcomes_transactional_id, _TRANSACTION_MS
            )
        )

    def take(self) -> None:
        """Fence a predecessor: what is read after this is not changed by anybody else. Raises as `sorted_out`."""
        sorted_out("init_transactions", lambda: self._producer.init_transactions(CALL_SECONDS))

    def read(self) -> tuple[OutcomesPositions | None, list[OutcomesRecord]]:
        """How far was read, None where nobody has ever; and all that was counted.

        Raises:
            UnreachableError: Kafka does not answer; to be repeated.
        """
        found = _Found()
        reader: CompactedReader[None] = CompactedReader(self._settings, self._topic, "outcomes", found.apply)
        try:
            reader.read_to_end(_READ_SECONDS, settled=True)
        finally:
            reader.close()
        return found.positions, list(found.records.values())

    def write(
        self, records: Iterable[OutcomesRecord], letters: Sequence[Record], positions: OutcomesPositions
    ) -> None:
        """Commit what was counted, what could not be read, and how far was read: all of it or nothing.

        Raises:
            UndoneError: nothing was committed, or nobody knows: begin again from `read`, with another ledger.
            SettingsError, FatalKafkaError: as `sorted_out`.
        """
        sorted_out("begin_transaction", self._producer.begin_transaction)
        for record in records:
            self._write(outcomes_key(record.since, record.release, record.segment), record)
        self._write(POSITIONS_KEY, positions)
        for letter in letters:
            self._producer.produce(letter.topic, letter.value, letter.key, headers=letter.headers)
            self._producer.poll(0)
        sorted_out("commit_transaction", lambda: self._producer.commit_transaction(CALL_SECONDS))

    def close(self) -> None:
        """Let the producer go: an `init_transactions` that timed out would go on in it, and fence its successor."""
        del self._producer

    def _write(self, key: str, record: BaseModel) -> None:
        self._producer.produce(self._topic, record.model_dump_json().encode(), key.encode(), partition=0)
        self._producer.poll(0)


class _Found:
    """The newest record of each key."""

    def __init__(self) -> None:
        self.positions: OutcomesPositions | None = None
        self.records: dict[bytes, OutcomesRecord] = {}

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        if key == POSITIONS_KEY.encode() and value:
            self.positions = OutcomesPositions.model_validate_json(value)
        elif key and key.startswith(OUTCOMES_KEY_PREFIX.encode()):
            self.records.pop(key, None)
            if value:
                self.records[key] = OutcomesRecord.model_validate_json(value)

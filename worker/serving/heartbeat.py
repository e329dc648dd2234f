"""The heartbeat of a worker: its record in `releases`, by which everybody sees who serves what."""

import logging
import threading
import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas import kafka
from schemas.release import HEARTBEAT_SECONDS, WorkerRecord, now, worker_key
from schemas.settings import Settings

log = logging.getLogger(__name__)


class Heartbeat:
    """Writes `worker:<id>` every 10 s and at every change. Not thread-safe: one thread beats."""

    def __init__(self, settings: Settings, worker_id: str, version: str, http: str) -> None:
        self.withdrawals: int | None = None
        """The offset after the last withdrawal that counts here; set by whoever reads them."""
        self.known = threading.Event()
        """Set once a heartbeat was delivered: from then on, who waits for all live workers waits for this one."""
        self._topic = settings.names.releases
        self._record = WorkerRecord(worker=worker_id, version=version, http=http, started_at=now())
        # A heartbeat that is late is of no use: the next one says more.
        late_ms = int(HEARTBEAT_SECONDS * 1_000)
        self._producer = Producer(kafka.producer(settings.kafka, {"message.timeout.ms": late_ms}))
        self._problems: dict[str, str] = {}
        self._beaten_at = float("-inf")
        self._written: WorkerRecord | None = None

    def serving(self, release: str, epoch: int) -> None:
        """Say so with the next beat, which is due at once."""
        self._record = self._record.model_copy(update={"release": release, "epoch": epoch})

    def trying(self, release: str | None) -> None:
        """Say with the next beat which release is on trial here."""
        self._record = self._record.model_copy(update={"trial": release})

    def say(self, part: str, problem: str | None) -> None:
        """Say with the next beat what is wrong with a part (a sentence), or that it is well."""
        if problem is None:
            self._problems.pop(part, None)
        else:
            self._problems[part] = problem

    def beat(self, collections: list[str]) -> None:
        """Write the record if it is due; `collections` are those that this worker may still search."""
        problem = "; ".join(self._problems.values()) or None
        said = {"problem": problem, "collections": collections, "withdrawals": self.withdrawals}
        record = self._record.model_copy(update=said)
        due = time.monotonic() - self._beaten_at >= HEARTBEAT_SECONDS
        if due or record != self._written:
            self._written = record
            self._beaten_at = time.monotonic()
            beat = record.model_copy(update={"heartbeat_at": now()})
            self._produce(beat.model_dump_json().encode())
        self._producer.poll(0)

    def _produce(self, value: bytes | None) -> None:
        """Hand a record over; one that the client refuses at once is lost, and the next one says more."""
        try:
            self._producer.produce(
                self._topic,
                value,
                worker_key(self._record.worker),
                partition=0,
                on_delivery=self._delivered,
            )
        except (BufferError, KafkaException) as refusal:
            log.warning("the heartbeat could not be sent to %s: %s", self._topic, refusal)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.known.set()

    def end(self, seconds: float) -> None:
        """Take the record back: this worker serves nothing any more."""
        self._produce(None)
        self._producer.flush(seconds)

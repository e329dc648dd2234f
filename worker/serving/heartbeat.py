"""The heartbeat of a worker: its record in `releases`, with the release that it serves."""

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
        """The offset after the last withdrawal that this worker applies; the blocklist sets it."""
        self.known = threading.Event()
        """Set once a heartbeat was delivered: from then on, commands that wait for all live workers wait for this one."""
        self._topic = settings.names.releases
        self._record = WorkerRecord(worker=worker_id, version=version, http=http, started_at=now())
        # A late heartbeat is useless: the next one is newer.
        late_ms = int(HEARTBEAT_SECONDS * 1_000)
        self._producer = Producer(kafka.producer(settings.kafka, {"message.timeout.ms": late_ms}))
        self._problems: dict[str, str] = {}
        self._beaten_at = float("-inf")
        self._written: WorkerRecord | None = None

    def serving(self, release: str, epoch: int) -> None:
        """Report the active release with the next beat, which is due at once."""
        self._record = self._record.model_copy(update={"release": release, "epoch": epoch})

    def trying(self, release: str | None) -> None:
        """Report the candidate with the next beat."""
        self._record = self._record.model_copy(update={"trial": release})

    def report(self, part: str, problem: str | None) -> None:
        """Report the problem of a part, a sentence or None, with the next beat."""
        if problem is None:
            self._problems.pop(part, None)
        else:
            self._problems[part] = problem

    def beat(self, collections: list[str]) -> None:
        """Write the record if it is due or has changed; `collections` are those that this worker may still search."""
        problem = "; ".join(self._problems.values()) or None
        fields = {"problem": problem, "collections": collections, "withdrawals": self.withdrawals}
        record = self._record.model_copy(update=fields)
        due = time.monotonic() - self._beaten_at >= HEARTBEAT_SECONDS
        if due or record != self._written:
            self._written = record
            self._beaten_at = time.monotonic()
            beat = record.model_copy(update={"heartbeat_at": now()})
            self._produce(beat.model_dump_json().encode())
        self._producer.poll(0)

    def _produce(self, value: bytes | None) -> None:
        """Produce the record; one that the client refuses at once is lost, and the next one replaces it."""
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
        """Delete the record: this worker has stopped serving."""
        self._produce(None)
        self._producer.flush(seconds)

"""Answers past events with a named release. The same range, device, versions and batch size give the same bytes."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from ops.offline.release import OfflineRelease
from producer.cluster import Refusal, partitions, unreachable
from schemas import dead_letter, kafka
from schemas.errors import MarqueeError
from schemas.headers import mended
from schemas.names import Names
from schemas.settings import Settings
from worker.events import Answer, Event

log = logging.getLogger(__name__)

_CONSUMED = 500
_POLL_SECONDS = 1.0
_RETRY_SECONDS = 0.1
_FLUSH_SECONDS = 60.0

Place = int | datetime | None
Write = Callable[[Answer, bytes], None]
Spans = dict[int, tuple[int, int]]  # first offset of a partition, and the offset after the last


@dataclass(frozen=True)
class Range:
    """Offsets or times from `start` (None: the beginning) to before `stop` (None: the present end), of every partition."""

    start: Place = None
    stop: Place = None
    partition: int | None = None


@dataclass(frozen=True)
class Replayed:
    """Number of events, of dead letters among them, and of offsets in the range that retention has removed."""

    events: int
    dead_letters: int
    gone: int


def replay(
    settings: Settings,
    release: OfflineRelease,
    wanted: Range,
    write: Write,
    *,
    batch: int,
    timeout_s: float,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Replayed:
    """Answer the events of a range, one partition after another, each in the order of its offsets.

    `report` gets the number of offsets done, and of all offsets.

    Raises:
        UnreachableError, SettingsError: Kafka cannot be reached within `timeout_s`, or refuses the credentials.
        MarqueeError: the partition does not exist.
    """
    refusal, topic = Refusal(), settings.names.profiles
    options = {"enable.partition.eof": True, "error_cb": refusal, "log_level": 0}
    consumer = Consumer(kafka.reader(settings.kafka, f"{settings.prefix}replay", options))
    try:
        count = partitions(consumer, settings.kafka, [topic], refusal, timeout_s)[topic]
        if wanted.partition is not None and wanted.partition >= count:
            raise MarqueeError(f"{topic} has no partition {wanted.partition}, only {count}")
        chosen = range(count) if wanted.partition is None else [wanted.partition]
        spans, gone = _spans_when_led(consumer, topic, chosen, wanted, refusal, timeout_s)
        total = sum(stop - start for start, stop in spans.values())
        events = letters = 0
        for done, part in _batches(consumer, topic, spans, batch):
            for answer in release.answer(part) if part else ():
                write(answer, line(answer))
                letters += answer.reason is not None
            events += len(part)
            report(done, total)
        return Replayed(events, letters, gone)
    except KafkaException as exception:
        raise unreachable(settings.kafka, refusal, timeout_s, exception.args[0]) from None
    finally:
        consumer.close()


def line(answer: Answer) -> bytes:
    """Format a recommendation as published, and a dead letter as a JSON object with its reason, but without its time."""
    if answer.reason is None:
        return answer.record.value or b""
    event = answer.event
    error = dict(answer.record.headers).get(dead_letter.ERROR, b"")
    fields = {
        "dead_letter": answer.reason.value,
        "error": error.decode() if isinstance(error, bytes) else error,
        "source": {"topic": event.topic(), "partition": event.partition(), "offset": event.offset()},
    }
    return json.dumps(fields, ensure_ascii=False).encode()


def _spans_when_led(
    consumer: Consumer,
    topic: str,
    chosen: Iterable[int],
    wanted: Range,
    refusal: Refusal,
    timeout_s: float,
) -> tuple[Spans, int]:
    """Look up the spans as `_spans`; retry, because a partition may have no leader for a moment."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _spans(consumer, topic, chosen, wanted, timeout_s)
        except KafkaException:
            if refusal.error or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def _spans(
    consumer: Consumer, topic: str, chosen: Iterable[int], wanted: Range, timeout_s: float
) -> tuple[Spans, int]:
    """Look up the span of each partition that has events in the range, and the number of offsets that are removed."""
    spans, gone = {}, 0
    for partition in chosen:
        place = TopicPartition(topic, partition)
        watermarks = consumer.get_watermark_offsets(place, timeout=timeout_s)
        if watermarks is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        low, high = watermarks
        start = _offset(consumer, place, wanted.start, low, high, timeout_s)
        stop = _offset(consumer, place, wanted.stop, high, high, timeout_s)
        gone += max(0, min(low, stop) - start)
        start, stop = max(low, start), min(high, stop)
        if start < stop:
            spans[partition] = (start, stop)
    return spans, gone


def _offset(
    consumer: Consumer, place: TopicPartition, wanted: Place, default: int, high: int, timeout_s: float
) -> int:
    if wanted is None:
        return default
    if isinstance(wanted, int):
        return wanted
    query = TopicPartition(place.topic, place.partition, int(wanted.timestamp() * 1_000))
    found: int = consumer.offsets_for_times([query], timeout=timeout_s)[0].offset
    return found if found >= 0 else high  # every record is older


def _batches(consumer: Consumer, topic: str, spans: Spans, size: int) -> Iterator[tuple[int, list[Event]]]:
    """Yield batches, each with the number of offsets done; an empty one ends a partition, whose last offsets may be markers."""
    done = 0
    for partition, (start, stop) in spans.items():
        records = _records(consumer, TopicPartition(topic, partition, start), stop)
        while part := list(islice(records, size)):
            yield done + part[-1].offset() + 1 - start, part
        done += stop - start
        yield done, []


def _records(consumer: Consumer, place: TopicPartition, stop: int) -> Iterator[Event]:
    consumer.assign([place])
    while True:
        for message in consumer.consume(_CONSUMED, _POLL_SECONDS):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:
                    continue
                raise KafkaException(error)
            event = cast(Event, mended([message], _log_lost_headers)[0])
            if event.offset() < stop:
                yield event
            if event.offset() >= stop - 1:
                return


def _log_lost_headers(headers: int) -> None:
    log.warning("%d headers of an event are left out: their names are not UTF-8", headers)


def refuse_own(names: Names, out: str) -> None:
    """Refuse a topic of the deployment as the target: its readers would take replayed results for real ones.

    Raises:
        MarqueeError: `out` is one.
    """
    if out in names.topics:
        raise MarqueeError(
            f"{out} is a topic of this deployment, whose readers would take the replay for real results: "
            "write to a file, or to a topic of another name"
        )


def topic_exists(settings: Settings, topic: str, timeout_s: float) -> bool:
    """Whether a topic exists. Raises UnreachableError and SettingsError as `replay`."""
    refusal = Refusal()
    client = Producer(kafka.producer(settings.kafka, {"error_cb": refusal, "log_level": 0}))
    try:
        return topic in client.list_topics(timeout=timeout_s).topics
    except KafkaException as exception:
        client.poll(0)  # serves error_cb
        raise unreachable(settings.kafka, refusal, timeout_s, exception.args[0]) from None


@contextmanager
def to_file(path: Path) -> Iterator[Write]:
    """Write lines into a file, which gets its name only when it is complete.

    Raises:
        MarqueeError: the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as output:

            def write(_: Answer, content: bytes) -> None:
                output.write(content + b"\n")

            yield write
        partial.replace(path)
    except OSError as error:
        raise MarqueeError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def to_topic(settings: Settings, topic: str, timeout_s: float) -> Iterator[Write]:
    """Write records into an existing topic, with the event's key and headers, and its partition number if it exists.

    Raises:
        UnreachableError: Kafka did not accept the records within `timeout_s`.
        MarqueeError: the topic does not exist, or refuses a record.
    """
    writer = _TopicWriter(settings, topic, timeout_s)
    yield writer.write
    writer.flush()


class _TopicWriter:
    def __init__(self, settings: Settings, topic: str, timeout_s: float) -> None:
        refusal = Refusal()
        options: kafka.Config = {"message.timeout.ms": int(_FLUSH_SECONDS * 1_000), "error_cb": refusal}
        self._producer = Producer(kafka.producer(settings.kafka, options | {"log_level": 0}))
        self._topic = topic
        self._partitions = partitions(self._producer, settings.kafka, [topic], refusal, timeout_s)[topic]
        self._errors: list[KafkaError] = []

    def write(self, answer: Answer, content: bytes) -> None:
        record = answer.record
        headers = record.headers if answer.reason is None else []
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    content,
                    record.key,
                    record.partition % self._partitions,
                    headers=headers,
                    on_delivery=self._delivered,
                )
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as refused:
                self._errors.append(refused.args[0])
                break
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for every delivery. Raises MarqueeError if a record was not delivered."""
        if self._producer.flush(_FLUSH_SECONDS) or self._errors:
            error = self._errors[0] if self._errors else KafkaError(KafkaError._TIMED_OUT)
            raise MarqueeError(
                f"{self._topic} did not accept every record ({error.str()}); the replay in it is incomplete"
            )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._errors.append(error)

"""Past events against a named release: the same range, device, versions and batch size give the same bytes."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, cast

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


@dataclass(frozen=True)
class Range:
    """Of every partition: from an offset or a time (None: the beginning), up to but without one (None: the end by now)."""

    start: Place = None
    stop: Place = None
    partition: int | None = None


@dataclass(frozen=True)
class Replayed:
    """How many events were answered, and how many of them became dead letters; how many offsets that were asked for are
    not kept any more."""

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

    `report` hears how many offsets are done, and of how many.

    Raises:
        UnreachableError, SettingsError: Kafka cannot be reached within `timeout_s`, or refuses who we are.
    """
    refusal = Refusal()
    consumer = Consumer(
        kafka.reader(
            settings.kafka,
            f"{settings.prefix}replay",
            {"enable.partition.eof": True, "error_cb": refusal, "log_level": 0},
        )
    )
    try:
        there = partitions(consumer, settings.kafka, [settings.names.profiles], refusal, timeout_s)
        numbers = range(there[settings.names.profiles])
        chosen = [number for number in numbers if wanted.partition in (None, number)]
        if not chosen:
            raise MarqueeError(
                f"{settings.names.profiles} has no partition {wanted.partition}, it has {len(numbers)}"
            )
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                spans, gone = _spans(consumer, settings.names.profiles, chosen, wanted, timeout_s)
                break
            except KafkaException:  # a partition without a leader has one a moment later
                if refusal.error or time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
        return _answer(consumer, settings.names.profiles, spans, gone, release, write, batch, report)
    except KafkaException as exception:
        raise unreachable(settings.kafka, refusal, timeout_s, exception.args[0]) from None
    finally:
        consumer.close()


def _answer(
    consumer: Consumer,
    topic: str,
    spans: dict[int, tuple[int, int]],
    gone: int,
    release: OfflineRelease,
    write: Write,
    batch: int,
    report: Callable[[int, int], None],
) -> Replayed:
    total = sum(stop - start for start, stop in spans.values())
    events = letters = done = 0
    for partition, (start, stop) in spans.items():
        taken: list[Event] = []
        for message in _records(consumer, topic, partition, start, stop):
            taken.append(message)
            if len(taken) == batch:
                letters += _write(release, taken, write)
                events += len(taken)
                report(done + taken[-1].offset() + 1 - start, total)
                taken = []
        if taken:
            letters += _write(release, taken, write)
            events += len(taken)
        done += stop - start
        report(done, total)
    return Replayed(events, letters, gone)


def _write(release: OfflineRelease, events: list[Event], write: Write) -> int:
    answers = release.answer(events)
    for answer in answers:
        write(answer, line(answer))
    return sum(answer.reason is not None for answer in answers)


def line(answer: Answer) -> bytes:
    """A recommendation as it would be published; a dead letter as a JSON object that says why, without the time of day."""
    if answer.reason is None:
        return answer.record.value or b""
    event = answer.event
    error = dict(answer.record.headers).get(dead_letter.ERROR, b"")
    said = {
        "dead_letter": answer.reason.value,
        "error": error.decode() if isinstance(error, bytes) else error,
        "source": {"topic": event.topic(), "partition": event.partition(), "offset": event.offset()},
    }
    return json.dumps(said, ensure_ascii=False).encode()


def _spans(
    consumer: Consumer, topic: str, chosen: list[int], wanted: Range, timeout_s: float
) -> tuple[dict[int, tuple[int, int]], int]:
    """First offset and the one after the last, of each partition in which there is something to do; and how many offsets
    were asked for that retention has removed."""
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
    asked = TopicPartition(place.topic, place.partition, int(wanted.timestamp() * 1_000))
    found: int = consumer.offsets_for_times([asked], timeout=timeout_s)[0].offset
    return found if found >= 0 else high  # nothing is as new as that


def _records(consumer: Consumer, topic: str, partition: int, start: int, stop: int) -> Iterator[Event]:
    consumer.assign([TopicPartition(topic, partition, start)])
    while True:
        for message in consumer.consume(_CONSUMED, _POLL_SECONDS):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:
                    continue
                raise KafkaException(error)
            offset = message.offset()
            assert offset is not None
            if offset >= stop:
                return
            yield cast(Event, mended([message], _say_left_out)[0])
            if offset == stop - 1:
                return


def _say_left_out(headers: int) -> None:
    log.warning("%d headers of an event are left out: their names are not UTF-8", headers)


def refuse_own(names: Names, out: str) -> None:
    """Raise MarqueeError where `out` is a topic of the deployment: replayed results are nobody's answers."""
    if out in names.topics:
        raise MarqueeError(
            f"{out} is a topic of this deployment, whose readers would take the replay for the truth: "
            "write to a file, or to a topic of another name"
        )


def topic_exists(settings: Settings, topic: str, timeout_s: float) -> bool:
    """Whether there is a topic of that name. Raises UnreachableError and SettingsError as `replay`."""
    refusal = Refusal()
    client = Producer(kafka.producer(settings.kafka, {"error_cb": refusal, "log_level": 0}))
    try:
        return topic in client.list_topics(timeout=timeout_s).topics
    except KafkaException as exception:
        client.poll(0)  # serves error_cb
        raise unreachable(settings.kafka, refusal, timeout_s, exception.args[0]) from None


@contextmanager
def to_file(path: Path) -> Iterator[Write]:
    """Lines into a file, which appears under its name only when it is whole.

    Raises:
        MarqueeError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as output:
            yield _to(output)
        partial.replace(path)
    except OSError as error:
        raise MarqueeError(f"{path} cannot be written: {error.strerror}") from None


def _to(output: IO[bytes]) -> Write:
    def write(_: Answer, content: bytes) -> None:
        output.write(content + b"\n")

    return write


@contextmanager
def to_topic(settings: Settings, topic: str, timeout_s: float) -> Iterator[Write]:
    """Records into a topic that exists: the event's key and headers, in the event's partition number where there is one.

    Raises:
        UnreachableError: Kafka did not take them within `timeout_s`.
        MarqueeError: there is no such topic, or it refuses them.
    """
    refusal, errors = Refusal(), list[KafkaError]()

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            errors.append(error)

    producer = Producer(
        kafka.producer(
            settings.kafka,
            {"message.timeout.ms": int(_FLUSH_SECONDS * 1_000), "error_cb": refusal, "log_level": 0},
        )
    )
    there = partitions(producer, settings.kafka, [topic], refusal, timeout_s)[topic]

    def write(answer: Answer, content: bytes) -> None:
        record = answer.record
        while True:
            try:
                producer.produce(
                    topic,
                    content,
                    record.key,
                    record.partition % there,
                    headers=record.headers if answer.reason is None else [],
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as refused:
                errors.append(refused.args[0])
                break
        producer.poll(0)

    yield write
    if producer.flush(_FLUSH_SECONDS) or errors:
        error = errors[0] if errors else KafkaError(KafkaError._TIMED_OUT)
        raise MarqueeError(f"{topic} did not take every record ({error.str()}); what is there is not whole")

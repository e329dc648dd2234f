"""A child process that answers events to find those that end a process: it joins no group, and publishes nothing.

One order comes in on stdin, as JSON; lines of JSON go out on stdout, whatever libraries print goes to stderr:

    {"begin": [0, 7]}        the event at offset 7 of partition 0; it is the cause if this process ends now
    {"done": [0, 7]}         it is answered
    {"end": 0}               partition 0 has no more events, or none that this client can read
    {"failed": "…"}          Kafka, the store or Milvus are away, or no release is active: the other events are untried
    {"bye": true}            all is answered

The blocklist is not applied here, and each event is answered alone.
"""

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import CollectorRegistry

from schemas import kafka
from schemas.dead_letter import ERROR, Reason
from schemas.errors import UnreachableError
from schemas.headers import mended
from schemas.profile import ProfileEvent
from schemas.release import ActiveRecord, TrialRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings, load_settings
from worker.errors import AbandonedError
from worker.events import Answer, Event
from worker.kafka.reader import read_releases
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.monitoring.waiting import Deadline
from worker.retrieval.index import open_store
from worker.retrieval.retriever import Retriever
from worker.serving import Answerer, Candidate, Recommender, ReleaseLoader, ServedRelease, Serving
from worker.stream.children import RehearsalOrder, room_in_container

# Memory beyond the loaded release: an event of 1 MiB takes far less.
ALLOWANCE_BYTES = 1024**3
_KAFKA_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.2
# Exceptions that libraries make of a lack of memory.
_NO_MEMORY = (b"MemoryError", b"ResourceExhausted", b"bad_alloc")


def main() -> None:
    """Carry out the order."""
    order: RehearsalOrder = json.loads(sys.stdin.buffer.read())
    say = _said_on(os.dup(1))
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Where the machine has no memory left, this process goes before the worker does.
    with suppress(OSError):  # Linux alone has it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    settings = load_settings(**order["settings"])
    try:
        _rehearse(settings, order["positions"], say)
    except Exception as error:  # noqa: BLE001  an exception ends no process
        say({"failed": f"{type(error).__name__}: {error}"})
    else:
        say({"bye": True})
    os._exit(0)  # neither clients nor libraries have anything to end well


def _rehearse(
    settings: Settings, positions: Sequence[tuple[int, int, int]], say: Callable[[dict[str, Any]], None]
) -> None:
    answer: Callable[[Event], None] | None = None
    consumer = Consumer(_config(settings))
    for partition, offset, events in positions:
        place = TopicPartition(settings.names.profiles, partition, offset)
        for event in _events(consumer, place, events):
            # Loaded for the first event only: most partitions that a killed worker leaves have none.
            answer = answer or _loaded(settings)
            say({"begin": [partition, event.offset()]})
            answer(event)
            say({"done": [partition, event.offset()]})
        say({"end": partition})


def _config(settings: Settings) -> kafka.Config:
    own: kafka.Config = {"enable.partition.eof": True, "auto.offset.reset": "error", "queued.min.messages": 1}
    return kafka.reader(settings.kafka, settings.names.worker_group, own)


def _events(consumer: Consumer, place: TopicPartition, most: int) -> Iterator[Event]:
    """The next events, one by one, up to the end or to a record that the client cannot read."""
    consumer.assign([place])
    deadline = Deadline(_KAFKA_SECONDS)
    while most > 0:
        messages = consumer.consume(1, _POLL_SECONDS)
        if any(_ends(message) for message in messages):
            return
        sound: list[Message] = [message for message in messages if message.error() is None]
        for event in cast(list[Event], mended(sound, lambda _: None)):
            yield event
            most, deadline = most - 1, Deadline(_KAFKA_SECONDS)
        if deadline.passed:
            raise UnreachableError(f"no event of {place.topic}-{place.partition} came")


def _ends(message: Message) -> bool:
    """Whether this partition has no more events to read; where brokers are away, the client retries."""
    error = message.error()
    return error is not None and error.code() not in {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}


def _loaded(settings: Settings) -> Callable[[Event], None]:
    """Load the active release as a worker does, and bound the memory."""
    try:
        view = read_releases(settings, _KAFKA_SECONDS)
    except KafkaException as exception:
        raise UnreachableError(exception.args[0].str()) from None
    if view.active is None:
        raise UnreachableError("no release is active")
    serving = _serving(ReleaseLoader(settings), view, view.active)
    serving.active.release.embed_profiles([ProfileEvent()])
    metrics = Metrics(CollectorRegistry())
    retriever = Retriever(settings, open_store(settings), Health(), metrics)
    recommender = Recommender(retriever.search, diversity=settings.worker.diversity)
    answerer = Answerer(settings.names.dead_letters, lambda: serving, recommender, metrics)
    _bound()

    def answer(event: Event) -> None:
        try:
            _look_for_memory(answerer.answer([event], Cancellation(seconds=_ANSWER_SECONDS)))
        except MemoryError:
            os.abort()
        except AbandonedError:
            raise UnreachableError("Milvus is away") from None

    return answer


def _serving(loader: ReleaseLoader, view: ReleasesView, active: ActiveRecord) -> Serving:
    """The active release, and a canary beside it."""
    served, trial = _load(loader, view, active), view.trial
    if trial is None or trial.epoch != active.epoch or trial.kind != "canary":
        return Serving(served, active.epoch)
    return Serving(served, active.epoch, Candidate(trial, _load(loader, view, trial)))


def _load(loader: ReleaseLoader, view: ReleasesView, wanted: ActiveRecord | TrialRecord) -> ServedRelease:
    return loader.load(wanted, view.releases.get(wanted.release))


def _bound() -> None:
    """Bound the writable memory, and not the addresses: Paddle and CUDA reserve far more than they use."""
    status = Path("/proc/self/status")
    if not status.exists():  # Linux alone has it
        return
    taken = next(line for line in status.read_text().splitlines() if line.startswith("VmData:"))
    limit = int(taken.split()[1]) * 1024 + min(ALLOWANCE_BYTES, room_in_container())
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _look_for_memory(answers: Sequence[Answer]) -> None:
    """Abort where an event failed for lack of memory: in the worker, the kernel would end the process."""
    for answer in answers:
        failed = answer.reason is Reason.PROCESSING_FAILED
        said = [value for name, value in answer.record.headers if name == ERROR and isinstance(value, bytes)]
        if failed and any(word in error for word in _NO_MEMORY for error in said):
            os.abort()


def _said_on(pipe: int) -> Callable[[dict[str, Any]], None]:
    return lambda line: _write(pipe, json.dumps(line).encode() + b"\n")


def _write(pipe: int, line: bytes) -> None:
    try:
        while line:
            line = line[os.write(pipe, line) :]
    except BrokenPipeError:  # the worker has ended meanwhile
        os._exit(0)


if __name__ == "__main__":
    main()

"""The indexer: takes release commands one by one, each carried out whole or not at all, whoever dies meanwhile."""

import logging
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.release import RECORD_FORMAT, ReleaseCommand, ReleaseRecord
from schemas.settings import Settings
from worker.commands import Commands
from worker.errors import UndoneError
from worker.http import Health
from worker.indexer_metrics import IndexerMetrics
from worker.job import Job
from worker.lifecycle import wait_for_topics
from worker.milvus import Milvus
from worker.publish import raise_if_final
from worker.records import ReleasesReader
from worker.state import Records, StateWriter
from worker.stopping import Stopping

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 60.0
_READ_SECONDS = 10.0
_CALL_SECONDS = 5.0
_POLL_SECONDS = 0.1
_PAUSE_SECONDS = 1.0  # before a new term
_END_SECONDS = 5.0  # for a job to notice that it is abandoned; a stop takes 10 s at most
_LOG_CRITICAL = 2  # librdkafka repeats itself while a broker is away; /health/ready says it once


class Indexer:
    """Runs one term after another: a term begins from what Kafka holds, and ends with whatever undoes it."""

    def __init__(self, settings: Settings, indexer_id: str, health: Health, metrics: IndexerMetrics) -> None:
        self._settings = settings
        self._id = indexer_id
        self._health = health
        self._metrics = metrics
        self._stopping = Stopping()
        self._milvus = Milvus(settings.milvus)
        self._commands = Commands(settings, self._milvus, health)

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            SettingsError: a wrong setting, or Kafka or Milvus refuse who we are.
            FatalKafkaError: Kafka ended this process for good; a new one can go on.
        """
        wait_for_topics(self._settings, self._health, self._stopping)
        while not self._stopping.is_set():
            term = _Term(
                self._settings, self._id, self._commands, self._health, self._metrics, self._stopping
            )
            try:
                term.run()
            except (UndoneError, UnreachableError) as error:
                self._health.set("kafka", str(error))
                log.warning("beginning again from what Kafka holds: %s", error)
                self._stopping.wait(_PAUSE_SECONDS)
            finally:
                term.close()
        self._milvus.close()

    def stop(self) -> None:
        """End as soon as the step under way has ended; what is half-built is cleaned up by the next indexer."""
        self._stopping.set()


class _Term:
    """One membership in the group, with clients of its own."""

    def __init__(
        self,
        settings: Settings,
        indexer_id: str,
        commands: Commands,
        health: Health,
        metrics: IndexerMetrics,
        stopping: Stopping,
    ) -> None:
        self._topic = settings.names.release_commands
        self._commands = commands
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._consumer = Consumer(
            kafka.reader(
                settings.kafka,
                settings.names.indexer_group,
                {
                    "auto.offset.reset": "earliest",
                    # An eager assignor takes the partition from its owner whenever another indexer joins: two of them
                    # would end each other's work for ever.
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": settings.worker.session_timeout_ms,
                    "max.poll.interval.ms": settings.worker.max_poll_interval_ms,
                    "error_cb": self._note,
                    "log_level": _LOG_CRITICAL,
                },
            )
        )
        self._reader = ReleasesReader(settings)
        self._writer = StateWriter(settings, indexer_id, self._consumer)
        self._place: TopicPartition | None = (
            None  # of the next command; None while the partition is another's
        )
        self._assigned = self._lost = self._away = False
        self._refused: KafkaError | None = None
        self._job: Job | None = None
        self._command_id: str | None = None  # of the command under way
        self._sweep_at = 0.0

    def run(self) -> None:
        """Take commands until stopped.

        Raises:
            UndoneError, UnreachableError: the term is over, and another may begin.
            SettingsError, FatalKafkaError
        """
        # 1. Fence a predecessor of this id.
        self._writer.start()
        self._health.set("kafka", None)
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_gone, on_lost=self._on_gone
        )
        self._health.begun()
        while not self._stopping.is_set():
            self._health.turn()
            # 2. Polling never stops, also while a job is under way: the partition is paused then.
            message = self._consumer.poll(_POLL_SECONDS if self._job is None else _POLL_SECONDS / 5)
            self._reader.poll(0)
            self._look_for_kafka()
            if self._refused:
                raise_if_final(self._refused)
            if self._lost:
                raise UndoneError("the commands went to another indexer")
            if self._assigned and self._place is None:
                self._place = self._next_place()
            if message is not None:
                self._take(message)
            # 3. Write what the job asks for, and see whether it has ended.
            self._serve_job()
            # 4. With nothing else to do, clean up: at first what a predecessor left behind.
            if self._job is None and self._place is not None and time.monotonic() >= self._sweep_at:
                self._begin(Job("sweep", self._commands.sweep))

    def close(self) -> None:
        """End the job, then leave the group."""
        if self._job is not None:
            self._job.abandon(_END_SECONDS)
        self._metrics.ended()
        self._metrics.has_commands(False)
        self._reader.close()
        self._consumer.close()
        self._writer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            raise_if_final(error)
            log.warning("%s: %s", self._topic, error.str())
            return
        offset = message.offset()
        assert offset is not None
        assert self._job is None  # the partition is paused while there is one
        self._place = TopicPartition(self._topic, 0, offset)
        command = parse_command(message)
        if command is None:
            self._write({}, done=True)
            return
        self._reader.read_to_end(_READ_SECONDS, settled=True)
        view = self._reader.view.snapshot()
        log.info("command %s: %s %s", command.command_id, command.action, command.release or "")
        self._command_id = command.command_id
        self._metrics.begun()
        self._begin(
            Job(
                f"{command.action}-{command.release}",
                lambda job: self._commands.carry_out(command, view, job),
            )
        )

    def _begin(self, job: Job) -> None:
        self._consumer.pause([TopicPartition(self._topic, 0)])
        self._job = job
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        job.start()

    def _serve_job(self) -> None:
        job = self._job
        if job is None:
            return
        while not job.requests.empty():
            request = job.requests.get()
            self._write(request.records, done=request.done)
            if request.done:
                self._sweep_at = 0.0
            self._reader.read_to_end(_READ_SECONDS, settled=True)
            request.answer.set_result(self._reader.view.snapshot())
        if job.ended:
            self._job = self._command_id = None
            self._metrics.ended()
            if job.failure is not None:
                raise job.failure
            self._consumer.resume([TopicPartition(self._topic, 0)])

    def _write(self, records: Records, *, done: bool) -> None:
        """Commit records, and with `done` the place after the command under way; else the place of the command itself."""
        place = self._place
        assert place is not None
        if done:
            place = TopicPartition(self._topic, 0, place.offset + 1)
        self._writer.write(records, place)
        self._place = place
        self._count(records, done)

    def _count(self, records: Records, done: bool) -> None:
        if self._command_id is None:
            return  # cleaning up is no command
        releases = [record for record in records.values() if isinstance(record, ReleaseRecord)]
        self._metrics.published(releases)
        if done:
            self._metrics.carried_out(self._command_id, releases)

    def _next_place(self) -> TopicPartition | None:
        """The group's committed place, or the topic's beginning where it has none; None while Kafka is away."""
        place = TopicPartition(self._topic, 0)
        try:
            committed = self._consumer.committed([place], timeout=_CALL_SECONDS)[0].offset
            beginning = self._consumer.get_watermark_offsets(place, timeout=_CALL_SECONDS)
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            return None
        if beginning is None:
            return None
        return TopicPartition(self._topic, 0, max(committed, beginning[0]))

    def _look_for_kafka(self) -> None:
        """Take the problem back once Kafka answers again."""
        if not self._away:
            return
        try:
            self._consumer.list_topics(self._topic, timeout=_POLL_SECONDS)
        except KafkaException:
            return
        self._away = False
        self._health.set("kafka", None)

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Every rebalance ends here, and tells only what is new: nothing, to who has the partition already."""
        if self._assigned:
            return
        self._assigned = bool(partitions)
        self._metrics.has_commands(self._assigned)
        log.info("this indexer %s the commands", "takes" if partitions else "stands by for")

    def _on_gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._lost = not self._stopping.is_set()

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away = True
            self._health.set("kafka", f"Kafka is away: {error.str()}")
        elif error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
            self._refused = error


def parse_command(message: Message) -> ReleaseCommand | None:
    """The command of a record, or None, logged, where it is none that this version understands."""
    where = f"{message.topic()}-{message.partition()}-{message.offset()}"
    try:
        command = ReleaseCommand.model_validate_json(message.value() or b"")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        log.warning("%s is no command, and skipped: %s %s", where, problem["loc"], problem["msg"])
        return None
    if command.format > RECORD_FORMAT:
        log.warning("%s has format %d, and is skipped: upgrade this indexer", where, command.format)
        return None
    return command

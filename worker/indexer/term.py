"""One term of an indexer: from joining the group to whatever ends that."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import Message, TopicPartition
from pydantic import ValidationError

from schemas.release import RECORD_FORMAT, ReleaseCommand, ReleaseRecord
from schemas.settings import Settings
from worker.indexer.commands import Commands
from worker.indexer.job import Job
from worker.indexer.membership import Membership
from worker.indexer.state import Records, StateWriter
from worker.indexer.sweep import Sweep
from worker.kafka.reader import ReleasesReader
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.process import Stopping

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 60.0
_READ_SECONDS = 10.0
_POLL_SECONDS = 0.1
_END_SECONDS = 5.0  # for a job to notice that it is abandoned; a stop takes 10 s at most


class Term:
    """Takes commands one by one, each in a job, with clients of its own.

    Everything that a job publishes is one transaction with the place among the commands: of the command under way until it
    is done, then of the next. So a term that comes after this one begins with what this one did not finish.
    """

    def __init__(
        self,
        settings: Settings,
        indexer_id: str,
        commands: Commands,
        sweep: Sweep,
        health: Health,
        metrics: IndexerMetrics,
        stopping: Stopping,
    ) -> None:
        self._commands = commands
        self._sweep = sweep
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._membership = Membership(settings, health, metrics)
        self._reader = ReleasesReader(settings)
        self._writer = StateWriter(settings, indexer_id, self._membership.consumer)
        # Of the next command; None while the partition is another's.
        self._place: TopicPartition | None = None
        self._job: Job | None = None
        self._command_id: str | None = None  # of the command under way
        self._sweep_at = 0.0

    def run(self) -> None:
        """Take commands until stopped.

        Raises:
            AbortedError, UnreachableError: the term is over, and another may begin.
            SettingsError, FatalKafkaError
        """
        # 1. Fence a predecessor of this id.
        self._writer.start()
        self._health.set("kafka", None)
        self._membership.join()
        self._health.begun()
        while not self._stopping.is_set():
            self._health.turn()
            # 2. Polling never stops, also while a job is under way: the partition is paused then.
            message = self._membership.poll(_POLL_SECONDS if self._job is None else _POLL_SECONDS / 5)
            self._reader.poll(0)
            self._health.set("releases", self._reader.undecodable)
            if self._membership.leads and self._place is None:
                self._place = self._membership.next_place()
            if message is not None:
                self._take(message)
            # 3. Write what the job asks for, and see whether it has ended.
            self._serve_job()
            # 4. With nothing else to do, clean up: at first what a predecessor left behind.
            if self._job is None and self._place is not None and time.monotonic() >= self._sweep_at:
                self._begin("sweep", self._sweep)

    def close(self) -> None:
        """End the job, then leave the group."""
        if self._job is not None:
            self._job.cancel(_END_SECONDS)
        self._metrics.ended()
        self._reader.close()
        self._membership.close()
        self._writer.close()

    def _take(self, message: Message) -> None:
        offset = message.offset()
        assert offset is not None
        assert self._job is None  # the partition is paused while there is one
        self._place = self._membership.at(offset)
        command = parse_command(message)
        if command is None:
            self._write({}, done=True)
            self._metrics.unreadable.inc()
            return
        self._reader.read_to_end(_READ_SECONDS, settled=True)
        log.info("command %s: %s %s", command.command_id, command.action, command.release or "")
        self._command_id = command.command_id
        self._metrics.begun()
        self._begin(f"{command.action}-{command.release}", lambda job: self._commands.carry_out(command, job))

    def _begin(self, name: str, work: Callable[[Job], None]) -> None:
        self._membership.pause()
        self._job = Job(name, work, self._reader.view.snapshot(), self._health)
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        self._job.start()

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
            request.view.set_result(self._reader.view.snapshot())
        if job.ended:
            self._job = self._command_id = None
            self._metrics.ended()
            if job.failure is not None:
                raise job.failure
            self._membership.resume()

    def _write(self, records: Records, *, done: bool) -> None:
        """Commit records, and with `done` the place after the command under way; else the place of the command itself."""
        place = self._place
        assert place is not None
        if done:
            place = self._membership.at(place.offset + 1)
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


def parse_command(message: Message) -> ReleaseCommand | None:
    """The command of a record, or None, logged, where it is none that this version understands.

    A command without an id is known by its place: an id made up here would be another at each reading, so that neither the
    indexers that end over it nor its outcome would ever be counted.
    """
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
    return command if command.has_id else command.model_copy(update={"command_id": where})

"""The indexer: carries release commands out one by one, each whole or not at all, whichever process dies meanwhile."""

import logging
from collections.abc import Callable

from confluent_kafka import Message, TopicPartition
from pydantic import ValidationError

from schemas.errors import UnreachableError
from schemas.release import RECORD_FORMAT, ReleaseCommand, ReleaseRecord
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.indexer.build import ReleaseBuilder, ScratchFolders
from worker.indexer.commands import Commands
from worker.indexer.job import Job, Records
from worker.indexer.membership import Membership, StateWriter
from worker.indexer.ownership import Ownership
from worker.indexer.sweep import Sweep
from worker.kafka.reader import ReleasesReader
from worker.kafka.topics import TopicWatch
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.monitoring.waiting import Deadline
from worker.process import Stopping
from worker.retrieval.index import open_store

log = logging.getLogger(__name__)

_REJOIN_SECONDS = 1.0  # between two memberships of the group
_SWEEP_SECONDS = 60.0
_READ_SECONDS = 10.0
_POLL_SECONDS = 0.1
_BUSY_POLL_SECONDS = 0.02  # while a job waits for its commits
_CANCEL_SECONDS = 5.0  # for a job to notice its cancellation; a stop takes 10 s at most


class Indexer:
    """Joins the group of indexers again and again; each time it continues from what Kafka holds."""

    def __init__(
        self,
        settings: Settings,
        indexer_id: str,
        health: Health,
        metrics: IndexerMetrics,
        stopping: Stopping,
    ) -> None:
        self._settings = settings
        self._id = indexer_id
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._milvus = open_store(settings)
        scope = f"{settings.kafka.bootstrap_servers} {settings.names.indexer_group} {indexer_id}"
        self._scratch = ScratchFolders(scope)
        self._ownership = Ownership(settings, self._milvus)
        builder = ReleaseBuilder(settings, self._milvus, self._ownership, self._scratch)
        self._commands = Commands(settings.names, self._milvus, builder)
        self._sweep = Sweep(settings, self._milvus, self._ownership, health)

    def run(self) -> None:
        """Work until `stopping` is set and the step under way has ended; the next indexer sweeps half-built collections.

        Raises:
            SettingsError: a wrong setting, or Kafka or Milvus refuse this client.
            FatalKafkaError: Kafka ended this process for good; a new one can go on.
        """
        self._scratch.clear()
        with TopicWatch(self._settings, "indexer", self._health) as topics:
            topics.wait(self._stopping.wait)
            while not self._stopping.is_set():
                self._health.turn()
                try:
                    self._follow_commands()
                except (AbortedError, UnreachableError) as error:
                    self._health.set("kafka", str(error))
                    log.warning("rejoining the group: %s", error)
                    self._stopping.wait(_REJOIN_SECONDS)
        self._milvus.close()

    def _follow_commands(self) -> None:
        # The owner first: no command may be refused because Kafka did not return its cluster id.
        log.info("collections carry the owner %s", self._ownership.owner)
        clients = self._settings, self._id, self._health, self._metrics, self._stopping
        follower = CommandFollower(*clients, self._commands, self._sweep)
        try:
            follower.run()
        finally:
            follower.close()


class CommandFollower:
    """Carries commands out while it is a member of the group, each in a job, with Kafka clients of its own.

    Each commit of a job is one transaction with an offset: the command's own until it is done, then the next one's. So the
    next member begins with the command that this one did not finish.
    """

    def __init__(
        self,
        settings: Settings,
        indexer_id: str,
        health: Health,
        metrics: IndexerMetrics,
        stopping: Stopping,
        commands: Commands,
        sweep: Sweep,
    ) -> None:
        self._commands = commands
        self._sweep = sweep
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._membership = Membership(settings, health, metrics)
        self._reader = ReleasesReader(settings)
        self._writer = StateWriter(settings, indexer_id, self._membership.consumer)
        self._next: TopicPartition | None = (
            None  # the next command's offset; None while another indexer has it
        )
        self._job: Job | None = None
        self._command_id: str | None = None  # of the command under way
        self._next_sweep = Deadline(0.0)

    def run(self) -> None:
        """Carry commands out until stopped.

        Raises:
            AbortedError, UnreachableError: join again.
            SettingsError, FatalKafkaError
        """
        # 1. Fence a predecessor with this id.
        self._writer.start()
        self._health.set("kafka", None)
        self._membership.join()
        self._health.begun()
        while not self._stopping.is_set():
            self._health.turn()
            # 2. Poll, also while a job runs: the partition is paused then.
            message = self._membership.poll(_POLL_SECONDS if self._job is None else _BUSY_POLL_SECONDS)
            self._reader.poll(0)
            self._health.set("releases", self._reader.undecodable)
            if self._membership.leads and self._next is None:
                self._next = self._membership.next_command()
            if message is not None:
                self._begin_command(message)
            # 3. Commit for the job, and end it.
            self._serve_job()
            # 4. Sweep when idle; the first sweep drops the leftovers of a predecessor.
            if self._job is None and self._next is not None and self._next_sweep.passed:
                self._start_job("sweep", self._sweep)

    def close(self) -> None:
        """Cancel the job, then leave the group."""
        if self._job is not None:
            self._job.cancel(_CANCEL_SECONDS)
        self._metrics.ended()
        self._reader.close()
        self._membership.close()
        self._writer.close()

    def _begin_command(self, message: Message) -> None:
        offset = message.offset()
        assert offset is not None
        assert self._job is None  # the partition is paused while there is one
        self._next = self._membership.at(offset)
        command = parse_command(message)
        if command is None:
            self._commit({}, done=True)
            self._metrics.unreadable.inc()
            return
        self._reader.read_to_end(_READ_SECONDS, settled=True)
        log.info("command %s: %s %s", command.command_id, command.action, command.release or "")
        self._command_id = command.command_id
        self._metrics.begun()
        name = f"{command.action}-{command.release}"
        self._start_job(name, lambda job: self._commands.carry_out(command, job))

    def _start_job(self, name: str, work: Callable[[Job], None]) -> None:
        self._membership.pause()
        self._job = Job(name, work, self._reader.view.snapshot(), self._health)
        self._job.start()

    def _serve_job(self) -> None:
        job = self._job
        if job is None:
            return
        while not job.requests.empty():
            request = job.requests.get()
            self._commit(request.records, done=request.done)
            self._reader.read_to_end(_READ_SECONDS, settled=True)
            request.view.set_result(self._reader.view.snapshot())
        if job.ended:
            if self._command_id is None:  # after the end of a sweep: a long one leaves time to poll a command
                self._next_sweep = Deadline(_SWEEP_SECONDS)
            self._job = self._command_id = None
            self._metrics.ended()
            if job.failure is not None:
                raise job.failure
            self._membership.resume()

    def _commit(self, records: Records, *, done: bool) -> None:
        """Commit records with the offset of the command under way, or with `done` of the next one."""
        offset = self._next
        assert offset is not None
        if done:
            offset = self._membership.at(offset.offset + 1)
            self._next_sweep = Deadline(0.0)
        self._writer.write(records, offset)
        self._next = offset
        self._count(records, done)

    def _count(self, records: Records, done: bool) -> None:
        if self._command_id is None:
            return  # a sweep is no command
        releases = [record for record in records.values() if isinstance(record, ReleaseRecord)]
        self._metrics.published(releases)
        if done:
            self._metrics.carried_out(self._command_id, releases)


def parse_command(message: Message) -> ReleaseCommand | None:
    """Read the command of a record; None, logged, if this version does not understand it.

    The offset is the id of a command without one: a random id would differ at each reading, so that neither the indexers
    that die over the command nor its status could be counted.
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

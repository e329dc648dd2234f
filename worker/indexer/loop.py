"""The indexer: takes release commands one by one, each carried out whole or not at all, whoever dies meanwhile."""

import logging

from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.indexer.build import ReleaseBuilder, ScratchFolders
from worker.indexer.commands import Commands
from worker.indexer.ownership import Ownership
from worker.indexer.sweep import Sweep
from worker.indexer.term import Term
from worker.kafka.topics import TopicWatch
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.process import Stopping
from worker.retrieval.index import open_store

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0  # before a new term


class Indexer:
    """Runs one term after another: a term begins from what Kafka holds, and ends with whatever undoes it."""

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
        self._scratch = ScratchFolders(
            f"{settings.kafka.bootstrap_servers} {settings.names.indexer_group} {indexer_id}"
        )
        self._ownership = ownership = Ownership(settings, self._milvus)
        builder = ReleaseBuilder(settings, self._milvus, ownership, self._scratch)
        self._commands = Commands(settings.names, self._milvus, builder)
        self._sweep = Sweep(settings, self._milvus, ownership, health)

    def run(self) -> None:
        """Work until `stopping` is set and the step under way has ended; the next indexer cleans up what is half-built.

        Raises:
            SettingsError: a wrong setting, or Kafka or Milvus refuse who we are.
            FatalKafkaError: Kafka ended this process for good; a new one can go on.
        """
        self._scratch.clear()
        with TopicWatch(self._settings, "indexer", self._health) as topics:
            topics.wait(self._stopping.wait)
            self._know_owner()
            self._run_terms()
        self._milvus.close()

    def _run_terms(self) -> None:
        while not self._stopping.is_set():
            term = Term(
                self._settings,
                self._id,
                self._commands,
                self._sweep,
                self._health,
                self._metrics,
                self._stopping,
            )
            try:
                term.run()
            except (AbortedError, UnreachableError) as error:
                self._health.set("kafka", str(error))
                log.warning("beginning again from what Kafka holds: %s", error)
                self._stopping.wait(_PAUSE_SECONDS)
            finally:
                term.close()

    def _know_owner(self) -> None:
        """Ask Kafka who we are, for as long as it takes: no command may be refused over that."""
        while not self._stopping.is_set():
            self._health.turn()
            try:
                log.info("collections of ours are marked as of %s", self._ownership.owner)
                self._health.set("kafka", None)
                break
            except UnreachableError as error:
                self._health.set("kafka", str(error))
                log.warning("waiting for Kafka: %s", error)
                self._stopping.wait(_PAUSE_SECONDS)

"""The outcomes worker: joins recommendations with feedback, and counts each pair once, whoever dies meanwhile.

One works and others stand by: who has the one partition of `outcomes` works. It takes the transactional id, which fences a
predecessor; reads what was counted, and how far; reads the last day again, counting nothing; and goes on. What it counts and
how far it has read go into one transaction.
"""

import logging
import time
from dataclasses import asdict

from confluent_kafka import KafkaException

from schemas.errors import UnreachableError
from schemas.feedback import OutcomesPositions, OutcomesRecord, UnreadableOutcomesError
from schemas.settings import Settings
from worker.errors import AbortedError, RefusedError
from worker.events import Record, without_its_value
from worker.kafka.errors import raise_if_final
from worker.kafka.leader import Election
from worker.kafka.topics import TopicWatch
from worker.monitoring.http import Health
from worker.monitoring.outcomes_metrics import OutcomesMetrics
from worker.outcomes.join import Counts, Join
from worker.outcomes.joining import Joining
from worker.outcomes.ledger import Ledger, RefusedLetterError
from worker.process import Stopping

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_COMMIT_SECONDS = 1.0  # what is counted is seen this much later at most
_PAUSE_SECONDS = 1.0  # before a new term
_LOOK_SECONDS = 30.0  # for partitions that were added
_AGAIN_SECONDS = 3.0  # before something is tried again that a person has to mend


class Outcomes:
    """Runs one term after another: a term begins from what Kafka holds, and ends with whatever undoes it."""

    def __init__(
        self, settings: Settings, health: Health, metrics: OutcomesMetrics, stopping: Stopping
    ) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._stopping = stopping

    def run(self) -> None:
        """Work until `stopping` is set; what was not committed by then is read again by the next.

        Raises:
            SettingsError: a wrong setting, or Kafka refuses who we are.
            FatalKafkaError: Kafka ended this process for good (fenced by a successor, for one); a new one can go on.
        """
        with TopicWatch(self._settings, "outcomes", self._health) as topics:
            topics.wait(self._stopping.wait)
            self._run_terms()

    def _run_terms(self) -> None:
        while not self._stopping.is_set():
            term = _Term(self._settings, self._health, self._metrics, self._stopping)
            try:
                term.run()
            except (AbortedError, UnreachableError, KafkaException) as error:
                if isinstance(error, KafkaException):
                    raise_if_final(error.args[0])
                self._health.set("kafka", str(error))
                log.warning("beginning again from what Kafka holds: %s", error)
                self._stopping.wait(_PAUSE_SECONDS)
            finally:
                term.close()


class _Term:
    """One time at work, with clients of its own."""

    def __init__(
        self, settings: Settings, health: Health, metrics: OutcomesMetrics, stopping: Stopping
    ) -> None:
        self._health, self._metrics, self._stopping = health, metrics, stopping
        self._ledger = Ledger(settings)
        self._election = outcomes_member(settings)
        self._join = Join(settings.outcomes.remembered)
        self._joining = Joining(
            settings, self._join, self._keep_place, stopping, metrics.unreadable_headers.inc
        )
        self._committed_at = self._looked_at = time.monotonic()

    def run(self) -> None:
        """Raises AbortedError, UnreachableError or KafkaException where another term may begin, and as `Outcomes.run`."""
        # 1. Wait to lead.
        self._health.begun()
        self._election.join()
        while not self._election.leads:
            if self._stopping.is_set():
                return
            self._keep_place(_POLL_SECONDS)
        # 2. Fence a predecessor, so that what is read now is not changed any more.
        self._ledger.start()
        # 3. What was counted, and how far; then the last day again, counting nothing.
        counted = self._counted()
        if counted is None:
            return
        self._joining.begin(*counted)
        self._health.set("kafka", None)
        self._metrics.leads.set(True)
        # 4. Count, and commit once a second.
        while not self._stopping.is_set():
            self._keep_place()
            self._joining.take()
            if self._joining.full or time.monotonic() - self._committed_at >= _COMMIT_SECONDS:
                self._commit()
                self._metrics.show(map(self._join.record, self._join.records))
                self._look_for_partitions()
        self._commit()

    def close(self) -> None:
        """Leave the group first: a successor may begin."""
        self._metrics.leads.set(False)
        self._election.close()
        self._joining.close()
        self._ledger.close()

    def _keep_place(self, seconds: float = 0.0) -> None:
        self._health.turn()
        self._election.poll(seconds)

    def _commit(self) -> None:
        self._committed_at = time.monotonic()
        join, joining = self._join, self._joining
        if joining.dirty:
            positions, letters = joining.positions(), joining.letters
            if not self._written([join.record(key) for key in join.changed], letters, positions):
                return
            self._metrics.committed(len(letters), asdict(join.counts), len(join))
            join.counts = Counts()
            self._metrics.skipped.inc(joining.skipped)
            join.committed(int(positions.read_to.timestamp() * 1_000))
            joining.committed()

    def _counted(self) -> tuple[OutcomesPositions | None, list[OutcomesRecord]] | None:
        """What was counted, and how far: waits while that cannot be read, because it would be counted twice. None once stopped."""
        while not self._stopping.is_set():
            try:
                counted = self._ledger.read()
            except UnreadableOutcomesError as error:
                self._wait_for_mending(str(error))
            else:
                self._health.set("outcomes", None)
                return counted
        return None

    def _written(
        self, records: list[OutcomesRecord], letters: list[Record], positions: OutcomesPositions
    ) -> bool:
        """Write to the ledger; False once stopped. A letter that is refused goes without its value; what is refused then waits."""
        left, apart = list(letters), False
        while True:
            try:
                self._ledger.write(records, left, positions, apart=apart)
            except RefusedLetterError as refused:
                self._keep_place()
                if apart and left[refused.number].value is not None:
                    left[refused.number] = without_its_value(left[refused.number])
                    continue
                failed: RefusedError = refused
            except RefusedError as refused:
                failed = refused
            else:
                self._health.set("outcomes", None)
                return True
            if not apart:
                apart = True
                continue
            if self._stopping.is_set():
                return False
            self._wait_for_mending(f"{failed}; {failed.remedy}")
            left, apart = list(letters), False

    def _wait_for_mending(self, what: str) -> None:
        """Say at /health/ready what a person has to mend, and keep the turn meanwhile: another would not get further."""
        if self._health.problems.get("outcomes") != what:
            log.warning("nothing is counted: %s", what)
        self._health.set("outcomes", what)
        deadline = time.monotonic() + _AGAIN_SECONDS
        while time.monotonic() < deadline and not self._stopping.is_set():
            self._keep_place(_POLL_SECONDS)

    def _look_for_partitions(self) -> None:
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._joining.look_for_partitions()


def outcomes_member(settings: Settings) -> Election:
    """A candidate for the leader of the outcomes workers; it reads nothing of the topic that it is elected on."""
    return Election(
        settings.kafka,
        settings.names.outcomes_group,
        settings.names.outcomes,
        "outcomes worker",
        {
            "auto.offset.reset": "latest",
            "session.timeout.ms": settings.outcomes.session_timeout_ms,
            "heartbeat.interval.ms": 2_000,
            "max.poll.interval.ms": settings.worker.max_poll_interval_ms,
        },
        reads=False,
    )

"""The outcomes worker: joins results with feedback, and counts each pair once, whichever process dies meanwhile.

One leader works and the others stand by. The leader takes the transactional id, which fences its predecessor, reads the
committed counts and positions, reads the last day again without counting, and continues. One transaction commits its counts and
positions.
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
from worker.monitoring.waiting import Deadline
from worker.outcomes.join import Join
from worker.outcomes.joining import Joining
from worker.outcomes.ledger import Ledger, RefusedLetterError
from worker.process import Stopping

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_COMMIT_SECONDS = 1.0
_REJOIN_SECONDS = 1.0  # between two memberships of the group
_TOPICS_SECONDS = 30.0  # between two checks of the topics
_RETRY_SECONDS = 3.0  # between two attempts at a step that an operator has to unblock


class Outcomes:
    """Joins the group of outcomes workers again and again; each time it continues from what Kafka holds."""

    def __init__(
        self, settings: Settings, health: Health, metrics: OutcomesMetrics, stopping: Stopping
    ) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._stopping = stopping

    def run(self) -> None:
        """Work until `stopping` is set; the next leader reads the records that were not committed by then.

        Raises:
            SettingsError: a wrong setting, or Kafka refuses this client.
            FatalKafkaError: Kafka ended this process for good (a successor fenced it, for one); a new one can go on.
        """
        with TopicWatch(self._settings, "outcomes", self._health) as topics:
            topics.wait(self._stopping.wait)
            while not self._stopping.is_set():
                self._join_group()

    def _join_group(self) -> None:
        """Count until Kafka aborts or does not answer. The client's refusal of its settings is raised."""
        counter = _Counter(self._settings, self._health, self._metrics, self._stopping)
        try:
            counter.run()
        except (AbortedError, UnreachableError, KafkaException) as error:
            if isinstance(error, KafkaException):
                raise_if_final(error.args[0])
            self._health.set("kafka", str(error))
            log.warning("rejoining the group: %s", error)
            self._stopping.wait(_REJOIN_SECONDS)
        finally:
            counter.close()


class _Counter:
    """One membership of the group, with Kafka clients of its own."""

    def __init__(
        self, settings: Settings, health: Health, metrics: OutcomesMetrics, stopping: Stopping
    ) -> None:
        self._health, self._metrics, self._stopping = health, metrics, stopping
        self._ledger = Ledger(settings)
        self._election = outcomes_member(settings)
        self._join = Join(settings.outcomes.remembered)
        self._joining = Joining(
            settings, self._join, self._keep_leading, stopping, metrics.unreadable_headers.inc
        )
        self._committed_at = self._checked_at = time.monotonic()

    def run(self) -> None:
        """Raises AbortedError, UnreachableError or KafkaException to join the group again, and as `Outcomes.run`."""
        # 1. Wait for leadership.
        self._health.begun()
        self._election.join()
        while not self._election.leads:
            if self._stopping.is_set():
                return
            self._keep_leading(_POLL_SECONDS)
        # 2. Fence the predecessor: the ledger does not change after this.
        self._ledger.start()
        # 3. Read the ledger, then the last day without counting.
        committed = self._read_ledger()
        if committed is None:
            return
        self._joining.begin(*committed)
        self._health.set("kafka", None)
        self._metrics.leads.set(True)
        # 4. Count, and commit once a second.
        while not self._stopping.is_set():
            self._keep_leading()
            self._joining.take()
            if self._joining.full or time.monotonic() - self._committed_at >= _COMMIT_SECONDS:
                self._commit()
                self._metrics.show(self._join.records())
                self._check_topics()
        self._commit()

    def close(self) -> None:
        """Leave the group first, so that a successor starts at once."""
        self._metrics.leads.set(False)
        self._election.close()
        self._joining.close()
        self._ledger.close()

    def _keep_leading(self, seconds: float = 0.0) -> None:
        self._health.turn()
        self._election.poll(seconds)

    def _commit(self) -> None:
        self._committed_at = time.monotonic()
        join, joining = self._join, self._joining
        if not joining.dirty:
            return
        records, positions = [join.record(key) for key in join.changed], joining.positions()
        if not self._write(records, joining.letters, positions):
            return
        counts = join.committed(int(positions.read_to.timestamp() * 1_000))
        self._metrics.committed(len(joining.letters), asdict(counts), len(join))
        self._metrics.skipped.inc(joining.skipped)
        joining.committed()

    def _read_ledger(self) -> tuple[OutcomesPositions | None, list[OutcomesRecord]] | None:
        """The committed counts and positions; waits while they are unreadable. None once stopped."""
        while not self._stopping.is_set():
            try:
                committed = self._ledger.read()
            except UnreadableOutcomesError as error:
                self._wait_for_operator(str(error))
            else:
                self._health.set("outcomes", None)
                return committed
        return None

    def _write(
        self, records: list[OutcomesRecord], letters: list[Record], positions: OutcomesPositions
    ) -> bool:
        """Write to the ledger, repeatedly until nothing is refused; False once stopped.

        After a refusal the letters are delivered one by one. A refused letter goes without its value.
        """
        left, apart = list(letters), False
        while True:
            try:
                self._ledger.write(records, left, positions, apart=apart)
            except RefusedError as refused:
                self._keep_leading()
                number = refused.number if isinstance(refused, RefusedLetterError) else None
                if not apart:
                    apart = True
                elif number is not None and left[number].value is not None:
                    left[number] = without_its_value(left[number])
                elif self._stopping.is_set():
                    return False
                else:
                    self._wait_for_operator(f"{refused}; {refused.remedy}")
                    left, apart = list(letters), False
            else:
                self._health.set("outcomes", None)
                return True

    def _wait_for_operator(self, problem: str) -> None:
        """Report a problem at /health/ready, and stay the leader: another process would meet the same problem."""
        if self._health.problems.get("outcomes") != problem:
            log.warning("nothing is counted: %s", problem)
        self._health.set("outcomes", problem)
        deadline = Deadline(_RETRY_SECONDS)
        while not deadline.passed and not self._stopping.is_set():
            self._keep_leading(_POLL_SECONDS)

    def _check_topics(self) -> None:
        if time.monotonic() - self._checked_at >= _TOPICS_SECONDS:
            self._checked_at = time.monotonic()
            self._joining.check_topics()


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

"""One run of a scenario: load, workers that are started again when they die, a concurrent reader, and the reckoning."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from confluent_kafka import KafkaException

from ops.local.ports import HOST
from schemas.errors import MarqueeError
from schemas.settings import load_settings
from tests.faults.checker import Findings, Sent, Truth, check
from tests.faults.load import Load
from tests.faults.proxy import KafkaProxy, Proxy
from tests.faults.reading import CommittedReader, Stored, longest_gap, stored
from tests.faults.saboteur import Order
from tests.faults.scenario import Scenario, Size
from tests.faults.servers import CONSUMER_SESSION_SECONDS, Servers
from tests.faults.worker_process import WorkerProcess
from tests.testbed.indexing import index_newest
from tests.testbed.kafka import cluster_state, committed_offsets, ends_of, group_state, members_of
from tests.testbed.processes import environment_of

log = logging.getLogger(__name__)
T = TypeVar("T")

PARTITIONS = 12
# The shortest that the worker takes; its transactions time out 10 s earlier.
SESSION_SECONDS = 16
_PROTOCOL = "MARQUEE_WORKER__GROUP_PROTOCOL"
_VERBS = {"kill": "kill -9", "stop": "SIGSTOP", "sleep": "sleep", "stall": "stall", "fail": "failure"}
_LINE = 300
_COMPLAINTS = 8
_SKIPPED = "these partitions are likely deleted already and hence can be skipped"
_LOOK_SECONDS = 0.1
_ASK_SECONDS = 0.25
_PATIENCE_SECONDS = 180.0
# To read a million results on a busy machine.
_READ_SECONDS = 900.0
_QUIET_SECONDS = 5.0
_STOP_SECONDS = 20.0
# kill -9, SIGTERM before the worker listens for it, a clean end, and a fatal Kafka error (fenced, for one).
_EXPECTED_EXITS = {-9, -15, 0, 3}


class TrialError(MarqueeError):
    """A scenario could not be carried out as planned."""


class Trial:
    """What a scenario's `run` works with; everything that starts a process is called from one thread."""

    def __init__(
        self,
        scenario: Scenario,
        size: Size,
        servers: Servers,
        store: str,
        folder: Path,
        *,
        seed: int,
        variables: Mapping[str, str] | None = None,
        patches: tuple[str, ...] = (),
    ) -> None:
        self.scenario, self.size, self.servers, self.folder = scenario, size, servers, folder
        self.chance = random.Random(seed)
        self.settings = load_settings(
            prefix=f"{scenario.name}-{time.time_ns():x}.",
            store=store,
            kafka={"bootstrap_servers": servers.kafka.bootstrap_servers, "partitions": PARTITIONS},
            milvus={"uri": servers.milvus.uri},
        )
        self.variables = (
            environment_of(self.settings)
            | {"MARQUEE_WORKER__SESSION_TIMEOUT_MS": str(SESSION_SECONDS * 1_000)}
            | {_PROTOCOL: scenario.protocols[0]}
            | dict(scenario.variables)
            | dict(variables or {})
        )
        self._steady: list[tuple[float, float]] = []
        self._steady_at: float | None = None
        self.injected: Counter[str] = Counter()
        self.notes: list[str] = []
        self.exits: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.workers: list[WorkerProcess] = []
        self._patches = patches
        self._open = ExitStack()
        self._collections: dict[str, set[str]] = {}
        names = self.settings.names
        self.load = Load(
            servers.kafka.bootstrap_servers, names.profiles, rate=scenario.rate, seed=seed, make=scenario.make
        )
        self.reader = self._reader()

    # What happens before, and after.

    def prepare(self) -> None:
        """Topics, an indexed and active release, the concurrent reader, and the load."""
        from worker.kafka.topics import ensure_topics

        self.folder.mkdir(parents=True, exist_ok=True)
        ensure_topics(self.settings, _PATIENCE_SECONDS)
        self._collections = index_newest(self.settings, self.folder, environment_of(self.settings))
        self.reader.start()
        self.load.start()

    def start_workers(self, count: int, **variables: str) -> None:
        """Have so many workers, and wait until each has committed something; the longest gap counts from then."""
        for _ in range(count - len(self.wanted)):
            self.add_worker(**variables)
        self.until("every worker's work", lambda: all(worker.at_work for worker in self.wanted))
        self._steady_at = self._steady_at or time.monotonic()

    def by_protocol(self) -> Iterator[range]:
        """The numbers of the faults to inject with each of the scenario's protocols, the workers having started with it."""
        protocols, faults = self.scenario.protocols, self.size.faults
        for number, protocol in enumerate(protocols):
            if self.variables[_PROTOCOL] != protocol:
                self._end_workers()
            self.variables[_PROTOCOL] = protocol
            self.start_workers(self.scenario.workers)
            part = range(number * faults // len(protocols), (number + 1) * faults // len(protocols))
            self.notes.append(f"{len(part)} with group.protocol={protocol}")
            yield part

    def _end_workers(self) -> None:
        """All leave: a group changes its protocol only while it is empty. That is no gap of the workers' making."""
        self._end_steady()
        for worker in self.wanted:
            worker.dismiss()
        self.until("everybody's end", lambda: not any(worker.child.running for worker in self.workers))
        group = self.settings.names.worker_group
        self.until("the group's end", lambda: members_of(self.servers.kafka.bootstrap_servers, group) == 0)

    def _end_steady(self) -> None:
        if self._steady_at is not None:
            self._steady.append((self._steady_at, time.monotonic()))
            self._steady_at = None

    def add_worker(self, **variables: str) -> WorkerProcess:
        """Start one more."""
        name = f"worker-{len(self.workers) + 1}"
        worker = WorkerProcess(name, self.folder, self.variables | variables, self._patches)
        self.workers.append(worker)
        worker.child.start()
        return worker

    def finish(self) -> Findings:
        """Let everything come to its end, stop the workers, read it all once more, and compare."""
        for worker in self.wanted:
            worker.orders.withdraw()
        self._end_steady()
        self.load.finish(self.size.events)
        sent = [*self.load.sent, *self._sent_again()]
        self._settle(sent)
        self.stop()
        names = self.settings.names
        ends = ends_of(
            self.servers.kafka.bootstrap_servers, [names.recommendations, names.dead_letters], PARTITIONS
        )
        later = self._reader()
        later.start()
        # The transaction that a killed worker left open holds readers back until it times out.
        for reader in (self.reader, later):
            self.until("the readers' end", lambda reader=reader: reader.has_read(ends), _READ_SECONDS)  # type: ignore[misc]
            reader.stop()
        skipped = self._skipped_ends()
        if skipped:
            self.notes.append(
                f"Kafka skipped the ends of {skipped} transactions in partitions without a leader (KAFKA-20734)"
            )
        truth = Truth(names.profiles, sent, self._collections, frozenset(self.load.unacknowledged))
        return check(truth, self.reader.outcomes, later.outcomes)

    def _sent_again(self) -> list[Sent]:
        """Events that the topic holds once more: even an idempotent producer sends again what it never heard of, and where
        brokers die at that moment both are kept. The worker cannot know, and answers each."""
        known = {(sent.partition, sent.offset) for sent in self.load.sent}
        by_key = {_told_by(sent): sent for sent in self.load.sent}
        topic = self.settings.names.profiles
        again = [
            replace(by_key[_told_by(record)], partition=record.partition, offset=record.offset)
            for record in stored(self.servers.kafka.bootstrap_servers, topic, PARTITIONS)
            if (record.partition, record.offset) not in known and _told_by(record) in by_key
        ]
        if again:
            self.notes.append(
                f"{len(again)} events are in their topic twice: the load's producer sent them again"
            )
        return again

    def _settle(self, events: list[Sent]) -> None:
        """Wait until every event has ended, or nothing more will come: all is committed, or all has stood still too long."""
        wanted = {sent.key for sent in events if sent.key is not None}
        twice = len(wanted) < len(events)  # or without a key
        seen, since = -1, time.monotonic()
        while not wanted <= self.reader.keys or (twice and not self._all_committed(events)):
            still = time.monotonic() - since
            if still > _PATIENCE_SECONDS or (still > _QUIET_SECONDS and self._all_committed(events)):
                return
            if len(self.reader.outcomes) > seen:
                seen, since = len(self.reader.outcomes), time.monotonic()
            self.wait(0.5)

    def _all_committed(self, events: list[Sent]) -> bool:
        """Whether the workers' group is past every event, so that what is missing now is missing for good."""
        servers, names = self.servers.kafka.bootstrap_servers, self.settings.names
        try:
            committed = committed_offsets(servers, names.worker_group, names.profiles, PARTITIONS)
        except KafkaException:  # a broker that comes back
            return False
        return all(sent.offset < committed[sent.partition] for sent in events)

    def stop(self) -> None:
        """End all workers, those that are stopped too, and note how they ended."""
        for worker in self.wanted:
            worker.wake()
            worker.dismiss()
        # Not by `stop`, which would send it again: Python dies of one that comes when it is all but gone.
        deadline = time.monotonic() + _STOP_SECONDS
        while any(worker.child.running for worker in self.workers) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        for worker in self.workers:
            if worker.child.running:
                worker.child.kill()
            self._note_exit(worker)

    def close(self) -> None:
        """End what is left: proxies, and all of a trial that failed."""
        for worker in self.workers:
            worker.wanted = False
            worker.child.kill()
        if self.reader.is_alive():
            self.reader.stop()
        self._open.close()

    # What scenarios use.

    @cached_property
    def milvus_proxy(self) -> Proxy:
        """Between Milvus and the workers that are started from now on."""
        proxy = self.keep(Proxy(self.servers.milvus.port))
        self.variables["MARQUEE_MILVUS__URI"] = f"http://{HOST}:{proxy.port}"
        return proxy

    @cached_property
    def kafka_proxy(self) -> KafkaProxy:
        """Between the one broker and the workers that are started from now on."""
        proxy = self.keep(KafkaProxy(self.servers.listener_port, self.servers.proxied_port))
        self.variables["MARQUEE_KAFKA__BOOTSTRAP_SERVERS"] = f"{HOST}:{proxy.port}"
        return proxy

    @property
    def session_seconds(self) -> int:
        """How long a silent worker keeps its partitions."""
        return CONSUMER_SESSION_SECONDS if self.variables[_PROTOCOL] == "consumer" else SESSION_SECONDS

    @property
    def wanted(self) -> list[WorkerProcess]:
        """The workers that are to run."""
        return [worker for worker in self.workers if worker.wanted]

    @property
    def longest_gap_s(self) -> float:
        """The longest time that a partition had nothing new while the workers were at work, in seconds."""
        spans = [
            *self._steady,
            *([(self._steady_at, time.monotonic())] if self._steady_at is not None else []),
        ]
        return max(
            (longest_gap(self.reader.outcomes, PARTITIONS, since, until) for since, until in spans),
            default=0.0,
        )

    @staticmethod
    def now() -> float:
        """The clock of `gap_since`, in seconds."""
        return time.monotonic()

    def gap_since(self, moment: float) -> float:
        """The longest time since then that a partition had nothing new, in seconds."""
        return longest_gap(self.reader.outcomes, PARTITIONS, moment, time.monotonic())

    def moved_since(self, moment: float) -> bool:
        """Whether every partition has had something new since then."""
        newest = takewhile(lambda outcome: outcome.at > moment, reversed(self.reader.outcomes))
        return {outcome.partition for outcome in newest} >= set(range(PARTITIONS))

    def keep(self, context: AbstractContextManager[T]) -> T:
        """Enter something that lasts until all has been read back."""
        return self._open.enter_context(context)

    def wait(self, seconds: float) -> None:
        """Wait, and keep the workers running meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            self._look()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_LOOK_SECONDS, left))

    def until(self, what: str, done: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait for something, and keep the workers running meanwhile.

        Raises:
            TrialError: not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TrialError(
                    f"{self.scenario.name}: {what} did not come within {seconds:.0f} s.{self._state()}"
                )
            self.wait(_ASK_SECONDS)

    def quiet(self) -> None:
        """Wait until everybody is at work, and no partition has moved for as long as a group waits for its dead."""
        seen = -1
        while self.rebalances != seen or not all(worker.at_work for worker in self.wanted):
            seen = self.rebalances
            self.wait(self.session_seconds)

    def progress(self, hopeless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until each partition has something new, or for it to be `hopeless`; whether each has."""
        now, newest = time.monotonic(), self.reader.newest_at

        def moved() -> bool:
            return all(newest.get(p, 0.0) > now for p in range(PARTITIONS))

        self.until("every partition's next", lambda: moved() or hopeless())
        return moved()

    def somebody_at_work(self) -> WorkerProcess:
        """A worker that has committed something since its start, drawn at random."""
        chosen: list[WorkerProcess] = []

        def found() -> bool:
            idle = [worker for worker in self.wanted if not worker.held and not worker.orders.pending]
            chosen.extend(worker for worker in idle if worker.at_work)
            return bool(chosen)

        self.until("a worker at work", found)
        return self.chance.choice(chosen)

    def order(self, worker: WorkerProcess, order: Order, named: str = "") -> bool:
        """Give an order and wait until it is obeyed; False if no batch came by, or the worker died of something else.

        `named`: what the report calls it, if not by what is done and where.
        """
        pid = worker.child.pid
        worker.order(order)
        deadline = time.monotonic() + 2 * SESSION_SECONDS
        while worker.orders.pending:
            if time.monotonic() > deadline or worker.child.pid != pid:
                worker.orders.withdraw()
                return False
            self.wait(0.02)
        self.injected[named or f"{_VERBS[order.do]} {order.at}"] += 1
        return True

    def owns(self, collections: Mapping[str, set[str]]) -> None:
        """Say which collections each release was indexed into."""
        self._collections = dict(collections)

    @property
    def rebalances(self) -> int:
        """How often partitions came to a worker or went."""
        return sum(worker.rebalances for worker in self.workers)

    def _state(self) -> str:
        """What everybody says at this moment, the most telling last: a stall that comes once in a hundred runs must be
        understood from the one report of it, and of a long one only the end may be left."""
        address, names = self.servers.kafka.bootstrap_servers, self.settings.names
        now, newest = time.monotonic(), self.reader.newest_at
        sent = Counter(sent.partition for sent in self.load.sent)
        try:
            committed = committed_offsets(address, names.worker_group, names.profiles, PARTITIONS)
        except KafkaException:
            committed = {}
        living = [worker for worker in self.workers if worker.wanted or worker.child.running]
        partitions = (
            f"{p} {sent[p]}/{committed.get(p)}/{now - newest.get(p, 0.0):.0f}" for p in range(PARTITIONS)
        )
        said = [
            "",
            *(line for worker in living for line in worker.stacks()),
            *(f"Kafka: {line}" for line in self._kafka_complaints()),
            *cluster_state(address, self.settings.prefix),
            *group_state(address, names.worker_group),
            *(worker.state() for worker in living),
            f"Partitions, sent/committed/seconds since the newest result: {', '.join(partitions)}.",
            f"Injected {dict(self.injected)}, exits {dict(self.exits)}, notes {self.notes}.",
        ]
        return "\n".join(said)

    def _kafka_lines(self) -> list[str]:
        """What all nodes have logged, one node after another."""
        logs = [process.log for process in self.servers.kafka.processes if process.log.is_file()]
        return [line for log in logs for line in log.read_text(errors="replace").splitlines()]

    def _kafka_complaints(self) -> list[str]:
        """The newest warnings and errors of all nodes, by the time that each line begins with."""
        lines = sorted(line for line in self._kafka_lines() if " WARN " in line or " ERROR " in line)
        return [line[:_LINE] for line in lines[-_COMPLAINTS:]]

    def _skipped_ends(self) -> int:
        """How often a broker left out a transaction's end where nobody led the partition; what was aborted may be committed
        by that, and what was committed be answered again."""
        return sum(_SKIPPED in line and self.settings.prefix in line for line in self._kafka_lines())

    def _look(self) -> None:
        """Start again whoever died; a reader that ended sees nothing more, and that is not the workers' fault."""
        self.reader.raise_failure()
        for worker in self.wanted:
            if not worker.child.running:
                self._note_exit(worker)
                worker.child.start()

    def _note_exit(self, worker: WorkerProcess) -> None:
        code = worker.child.returncode
        self.exits[str(code)] += 1
        if code not in _EXPECTED_EXITS:
            self.unexpected.append(f"{worker.name} ended with code {code}.{worker.child.log_tail()}")

    def _reader(self) -> CommittedReader:
        names = self.settings.names
        return CommittedReader(
            self.servers.kafka.bootstrap_servers, names.recommendations, names.dead_letters, PARTITIONS
        )


def _told_by(record: Sent | Stored) -> tuple[bytes | None, bytes | None]:
    """The key, and of a record without one its bytes, by which a copy of it is known."""
    return record.key, record.digest if record.key is None else None

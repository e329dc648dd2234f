"""One run of a scenario: a load, workers that are restarted when they end, and a concurrent reader."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ops.local.ports import HOST
from schemas.errors import MarqueeError
from schemas.settings import load_settings
from tests.faults.diagnosis import diagnosis
from tests.faults.latency import SteadyTimes, longest_gap
from tests.faults.load import Load
from tests.faults.processes import WorkerProcess
from tests.faults.proxy import KafkaProxy, Proxy
from tests.faults.reading import CommittedReader
from tests.faults.saboteur import Order
from tests.faults.scenario import Scenario, Size
from tests.faults.servers import CONSUMER_SESSION_SECONDS, Servers
from tests.testbed.indexing import index_newest
from tests.testbed.kafka import members_of
from tests.testbed.processes import environment_of

T = TypeVar("T")

PARTITIONS = 12
# The minimum of the setting; transactions time out 10 s earlier.
SESSION_SECONDS = 16
_PROTOCOL = "MARQUEE_WORKER__GROUP_PROTOCOL"
_VERBS = {"kill": "kill -9", "stop": "SIGSTOP", "sleep": "sleep", "stall": "stall", "fail": "failure"}
_LOOK_SECONDS = 0.1
_ASK_SECONDS = 0.25
PATIENCE_SECONDS = 180.0
_STOP_SECONDS = 20.0
# kill -9, SIGTERM before the worker handles it, a clean end, and a fatal Kafka error (fenced, for one).
_EXPECTED_EXITS = {-9, -15, 0, 3}


class TrialError(MarqueeError):
    """A scenario could not be carried out as planned."""


class Trial:
    """The deployment that a scenario injects faults into. One thread starts all processes."""

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
        self.steady = SteadyTimes()
        self.injected: Counter[str] = Counter()
        self.notes: list[str] = []
        self.exits: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.workers: list[WorkerProcess] = []
        self._patches = patches
        self._open = ExitStack()
        self.collections: dict[str, set[str]] = {}
        address, topic = servers.kafka.bootstrap_servers, self.settings.names.profiles
        self.load = Load(address, topic, rate=scenario.rate, seed=seed, make=scenario.make)
        self.reader = self.new_reader()

    def prepare(self) -> None:
        """Create topics, index and activate a release, start the concurrent reader and the load."""
        from worker.kafka.topics import ensure_topics

        self.folder.mkdir(parents=True, exist_ok=True)
        ensure_topics(self.settings, PATIENCE_SECONDS)
        self.collections = index_newest(self.settings, self.folder, environment_of(self.settings))
        self.reader.start()
        self.load.start()

    def start_workers(self, count: int, **variables: str) -> None:
        """Start workers up to `count`, and wait until each has committed; gaps count from then on."""
        for _ in range(count - len(self.wanted)):
            self.add_worker(**variables)
        self.until("a commit of every worker", lambda: all(worker.at_work for worker in self.wanted))
        self.steady.begin()

    def by_protocol(self) -> Iterator[range]:
        """The numbers of the faults to inject under each group protocol of the scenario, after its workers have started."""
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
        """Stop all workers, because a group changes its protocol only while it is empty. Gaps do not count meanwhile."""
        self.steady.end()
        for worker in self.wanted:
            worker.dismiss()
        self.until("the end of all workers", lambda: not any(worker.child.running for worker in self.workers))
        group = self.settings.names.worker_group
        self.until("the group's end", lambda: members_of(self.servers.kafka.bootstrap_servers, group) == 0)

    def add_worker(self, **variables: str) -> WorkerProcess:
        """Start another worker."""
        name = f"worker-{len(self.workers) + 1}"
        worker = WorkerProcess(name, self.folder, self.variables | variables, self._patches)
        self.workers.append(worker)
        worker.child.start()
        return worker

    def stop(self) -> None:
        """Stop all workers, those under SIGSTOP too, and count their exit codes."""
        for worker in self.wanted:
            worker.wake()
            worker.dismiss()
        # A second SIGTERM, as `ChildProcess.stop` sends it, kills an interpreter that is shutting down.
        deadline = time.monotonic() + _STOP_SECONDS
        while any(worker.child.running for worker in self.workers) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        for worker in self.workers:
            if worker.child.running:
                worker.child.kill()
            self._note_exit(worker)

    def close(self) -> None:
        """End proxies, and the processes of a trial that failed."""
        for worker in self.workers:
            worker.wanted = False
            worker.child.kill()
        if self.reader.is_alive():
            self.reader.stop()
        self._open.close()

    @cached_property
    def milvus_proxy(self) -> Proxy:
        """A proxy between Milvus and the workers started from now on."""
        proxy = self.keep(Proxy(self.servers.milvus.port))
        self.variables["MARQUEE_MILVUS__URI"] = f"http://{HOST}:{proxy.port}"
        return proxy

    @cached_property
    def kafka_proxy(self) -> KafkaProxy:
        """A proxy between the one broker and the workers started from now on."""
        proxy = self.keep(KafkaProxy(self.servers.listener_port, self.servers.proxied_port))
        self.variables["MARQUEE_KAFKA__BOOTSTRAP_SERVERS"] = f"{HOST}:{proxy.port}"
        return proxy

    @property
    def partitions(self) -> range:
        """The partitions of the topics of events and results."""
        return range(PARTITIONS)

    @property
    def session_seconds(self) -> int:
        """The session timeout of the group protocol in use."""
        return CONSUMER_SESSION_SECONDS if self.variables[_PROTOCOL] == "consumer" else SESSION_SECONDS

    @property
    def wanted(self) -> list[WorkerProcess]:
        """The workers that must run."""
        return [worker for worker in self.workers if worker.wanted]

    @property
    def longest_gap_s(self) -> float:
        """The longest time without a result in one partition while gaps count, in seconds."""
        return max(
            (
                longest_gap(self.reader.outcomes, PARTITIONS, since, until)
                for since, until in self.steady.spans
            ),
            default=0.0,
        )

    def gap_since(self, moment: float) -> float:
        """The longest time without a result in one partition since then, in seconds."""
        return longest_gap(self.reader.outcomes, PARTITIONS, moment, time.monotonic())

    def moved_since(self, moment: float) -> bool:
        """Whether every partition has a result since then."""
        return all(self.reader.newest_at.get(p, 0.0) > moment for p in self.partitions)

    def keep(self, context: AbstractContextManager[T]) -> T:
        """Enter a context that lasts until the trial is closed."""
        return self._open.enter_context(context)

    def wait(self, seconds: float) -> None:
        """Wait, and restart workers that end."""
        deadline = time.monotonic() + seconds
        while True:
            self._look()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_LOOK_SECONDS, left))

    def until(self, what: str, done: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for `what`, and restart workers that end.

        Raises:
            TrialError: not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TrialError(
                    f"{self.scenario.name}: {what} did not come within {seconds:.0f} s.{diagnosis(self)}"
                )
            self.wait(_ASK_SECONDS)

    def quiet(self) -> None:
        """Wait until every worker works, and no rebalance has happened for a session timeout."""
        seen = -1
        while self.rebalances != seen or not all(worker.at_work for worker in self.wanted):
            seen = self.rebalances
            self.wait(self.session_seconds)

    def progress(self, hopeless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until each partition has a new result, or until `hopeless`; whether each has one."""
        now = time.monotonic()
        self.until("a result in every partition", lambda: self.moved_since(now) or hopeless())
        return self.moved_since(now)

    def somebody_at_work(self) -> WorkerProcess:
        """A random worker that has committed since its start."""
        chosen: list[WorkerProcess] = []

        def found() -> bool:
            idle = [worker for worker in self.wanted if not worker.held and not worker.orders.pending]
            chosen.extend(worker for worker in idle if worker.at_work)
            return bool(chosen)

        self.until("a worker at work", found)
        return self.chance.choice(chosen)

    def order(self, worker: WorkerProcess, order: Order, named: str = "") -> bool:
        """Give an order and wait until the worker carries it out; False if no batch came by, or the worker ended before.

        `named` is the fault's name in the report, by default the order and its failpoint.
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

    @property
    def rebalances(self) -> int:
        """The number of assignments and revocations of all workers."""
        return sum(worker.rebalances for worker in self.workers)

    def _look(self) -> None:
        """Restart workers that ended; raise the failure of a reader that ended."""
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

    def new_reader(self) -> CommittedReader:
        servers, names = self.servers.kafka.bootstrap_servers, self.settings.names
        return CommittedReader(servers, names.recommendations, names.dead_letters, PARTITIONS)

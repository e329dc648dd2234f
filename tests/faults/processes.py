"""The processes of the suite: workers under orders, observed by exit code, HTTP and log, and indexers that are killed and stopped."""

import json
import os
import random
import re
import signal
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError

from ops.local.ports import HOST, free_port
from ops.local.process import ChildProcess
from tests.faults.saboteur import STACKS_SIGNAL, Order, OrderFile

_ANSWER_SECONDS = 2.0
_STACKS_SECONDS = 1.0
# A line of faulthandler's; the outer calls of a thread are always the same.
_CALL = re.compile(r'File ".*?([^/"]+)", line (\d+) in (\S+)')
_INNERMOST = 5
_LINE = 200
# Log lines of the worker; tests/unit/test_stream.py compares them with a worker's own.
_REBALANCE = re.compile(r": (assigned|revoked|lost) \d+ partitions:")
_LOSS = re.compile(r": (lost \d+ partitions:|abort, )")


def rebalances_in(log: str) -> int:
    """The number of assignments, revocations and losses in a worker's log."""
    return len(_REBALANCE.findall(log))


def losses_in(log: str) -> int:
    """The number of aborted transactions and lost assignments in a worker's log."""
    return len(_LOSS.findall(log))


class WorkerProcess:
    """`marquee worker` with a name that survives its restarts.

    `wanted`: whether it must run. `held`: whether it is under SIGSTOP by order.
    """

    def __init__(self, name: str, folder: Path, variables: dict[str, str], patches: tuple[str, ...]) -> None:
        self.name = name
        self.wanted = True
        self.held = False
        self.port = free_port()
        self.orders = OrderFile(folder / f"{name}.order")
        self.orders.withdraw()
        self.child = ChildProcess(
            name,
            [sys.executable, "-m", "tests.faults.saboteur", str(self.orders.path), *patches],
            log=folder / f"{name}.log",
            environment=variables
            | {
                "MARQUEE_WORKER__ID": name,
                "MARQUEE_HTTP__HOST": HOST,
                "MARQUEE_HTTP__PORT": str(self.port),
            },
        )

    @property
    def at_work(self) -> bool:
        """Whether it has committed something since its start."""
        return self.answered > 0

    @property
    def answered(self) -> float:
        """Recommendations that it has committed since its start."""
        return self.metric('marquee_events_total{outcome="recommendation"}')

    @property
    def undone(self) -> float:
        """Transactions that it has undone since its start."""
        return self.metric('marquee_transactions_total{outcome="undone"}')

    def metric(self, sample: str) -> float:
        """Value of a sample in /metrics; 0 without it, or without a response."""
        lines = self._get("/metrics").decode().splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{sample} ")), 0.0)

    @property
    def problems(self) -> dict[str, str] | None:
        """The problems in /health/ready, by part; None without a response."""
        body = self._get("/health/ready")
        return dict(json.loads(body)["problems"]) if body else None

    def _get(self, path: str) -> bytes:
        """The body of a page, of 503 as of 200; empty without a response."""
        if not self.child.running:
            return b""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=_ANSWER_SECONDS) as page:
                return bytes(page.read())
        except HTTPError as refusal:
            return refusal.read()
        except OSError:
            return b""

    def order(self, order: Order) -> None:
        """Give an order for the next batch."""
        self.orders.give(order)

    def dismiss(self) -> None:
        """SIGTERM, and not to be started again."""
        self.wanted = False
        self.child.terminate()

    def wake(self) -> None:
        """SIGCONT."""
        self.held = False
        if self.child.pid is not None:
            os.kill(self.child.pid, signal.SIGCONT)

    def state(self) -> str:
        """Its problems, and the last line of its log."""
        said = next((line for line in reversed(self.log.splitlines()) if line[:1].isdigit()), "nothing")
        return f"{self.name}, process {self.child.pid}, {self.problems}, last said: {said[:_LINE]}"

    def stacks(self) -> list[str]:
        """Where each of its threads is, innermost call first: a line of its own for each."""
        if not self.child.running:
            return []
        before = len(self.log)
        self.child.send_signal(STACKS_SIGNAL)
        time.sleep(_STACKS_SECONDS)
        threads = re.split(r"^(?:Current t|T)hread .*$", self.log[before:], flags=re.MULTILINE)[1:]
        calls = [_CALL.findall(thread)[:_INNERMOST] for thread in threads]
        return [
            f"{self.name}: " + " < ".join(f"{file}:{line} {name}" for file, line, name in thread)
            for thread in calls
        ]

    @property
    def log(self) -> str:
        return self.child.log.read_text(errors="replace") if self.child.log.is_file() else ""

    @property
    def losses(self) -> int:
        return losses_in(self.log)

    @property
    def rebalances(self) -> int:
        return rebalances_in(self.log)


# Kafka's minimum, by MARQUEE_KAFKA__CLIENT. A stopped indexer loses its partition after it.
SESSION_SECONDS = 6
_EXPECTED_EXITS = {-9, 0, 3}
_STOP_SECONDS = 20.0


class Indexers:
    """One has the commands, the other stands by."""

    def __init__(self, folder: Path, variables: dict[str, str], count: int = 2) -> None:
        self.exits: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self._stopped: dict[ChildProcess, float] = {}
        self._children = [
            ChildProcess(
                f"indexer-{number}",
                [sys.executable, "-m", "ops", "indexer"],
                log=folder / f"indexer-{number}.log",
                environment=variables
                | {
                    "MARQUEE_INDEXER__ID": f"indexer-{number}",
                    "MARQUEE_HTTP__PORT": "0",
                    "MARQUEE_KAFKA__CLIENT": f'{{"session.timeout.ms": {SESSION_SECONDS * 1_000}}}',
                },
            )
            for number in range(1, count + 1)
        ]

    def __enter__(self) -> Self:
        for child in self._children:
            child.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            self._wake(child)
            child.stop(_STOP_SECONDS)

    def kill(self, chance: random.Random) -> None:
        """kill -9 of either."""
        chance.choice([child for child in self._children if child.running]).kill()

    def stop(self, chance: random.Random) -> None:
        """SIGSTOP of either for twice its session timeout: the other takes over, and writes of the zombie are fenced."""
        child = chance.choice([child for child in self._children if child.running])
        self._send(child, signal.SIGSTOP)
        self._stopped[child] = time.monotonic() + 2 * SESSION_SECONDS

    def look(self) -> None:
        """Restart indexers that ended, and send SIGCONT to those stopped for long enough."""
        for child, until in list(self._stopped.items()):
            if time.monotonic() >= until:
                self._wake(child)
        for child in self._children:
            if not child.running:
                self._note(child)
                child.start()

    @property
    def anybody_stopped(self) -> bool:
        return bool(self._stopped)

    def _wake(self, child: ChildProcess) -> None:
        self._stopped.pop(child, None)
        self._send(child, signal.SIGCONT)

    @staticmethod
    def _send(child: ChildProcess, number: signal.Signals) -> None:
        if child.running and child.pid is not None:
            os.kill(child.pid, number)

    def _note(self, child: ChildProcess) -> None:
        code = child.returncode
        self.exits[str(code)] += 1
        if code not in _EXPECTED_EXITS:
            self.unexpected.append(f"an indexer ended with code {code}.{child.log_tail()}")

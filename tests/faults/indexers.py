"""Indexers under fire: two at once, killed, stopped, and started again when they die."""

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.local.process import ChildProcess

# Kafka's own least: a silent indexer loses the commands so soon. Its clients take it from MARQUEE_KAFKA__CLIENT.
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
        """SIGSTOP of either, until past its session: another takes over, and what the zombie writes then is fenced."""
        child = chance.choice([child for child in self._children if child.running])
        self._send(child, signal.SIGSTOP)
        self._stopped[child] = time.monotonic() + 2 * SESSION_SECONDS

    def look(self) -> None:
        """Start again whoever died, and wake whoever was stopped for long enough."""
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

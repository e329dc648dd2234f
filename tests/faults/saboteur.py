"""A worker that does what it is ordered at named points of its commit path: `python -m tests.faults.saboteur ORDERS [PATCH…]`.

It sets the worker's failpoints in this process, and then runs `marquee worker`. A PATCH, `module:function`, is called before the worker starts; tests break the worker with it.
"""

import faulthandler
import importlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

from confluent_kafka import KafkaError, KafkaException, Producer

from tests.faults.orders import STACKS_SIGNAL, Order, OrderFile
from worker.monitoring.failpoints import Point, set_failpoint

# A commit on one node takes 1 to 2 ms: somewhere within it.
_WITHIN_COMMIT_SECONDS = 0.003
_FLUSH_SECONDS = 10.0
_FETCH_WAIT_MS = 100


class Saboteur:
    """Carries out orders at the worker's failpoints."""

    def __init__(self, orders: OrderFile) -> None:
        self._orders = orders
        self._lock = threading.Lock()
        self._polls_again_at = 0.0

    def at(self, point: str) -> None:
        """A batch is here."""
        order = self._take(point)
        if order:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        if order.do == "fail":
            raise KafkaException(KafkaError(KafkaError._STATE, "ordered by the fault suite"))
        if order.do == "stall":
            self._polls_again_at = time.monotonic() + order.seconds
        if order.do in ("sleep", "stall"):
            time.sleep(order.seconds)
        else:
            os.kill(os.getpid(), signal.SIGKILL if order.do == "kill" else signal.SIGSTOP)

    def _take(self, point: str) -> Order | None:
        with self._lock:
            return self._orders.take(point)

    def set_failpoints(self) -> None:
        """Have the worker's failpoints take the orders."""
        from schemas import kafka

        _fetch_calmly(kafka)
        for point in get_args(Point):
            set_failpoint(point, partial(self.at, point))
        set_failpoint("before-poll", self._stay_stalled)
        set_failpoint("after-first-produce", self._after_first_produce)
        set_failpoint("before-commit", self._during_commit)

    def _stay_stalled(self) -> None:
        time.sleep(max(0.0, self._polls_again_at - time.monotonic()))

    def _after_first_produce(self, producer: Producer) -> None:
        if order := self._take("after-first-produce"):
            producer.flush(_FLUSH_SECONDS)  # so that the broker has the record
            self._carry_out(order)

    def _during_commit(self) -> None:
        if order := self._take("during-commit"):
            threading.Thread(target=self._soon, args=(order,), daemon=True).start()

    def _soon(self, order: Order) -> None:
        time.sleep(random.uniform(0.0, _WITHIN_COMMIT_SECONDS))
        self._carry_out(order)


def _fetch_calmly(kafka: Any) -> None:
    """Have brokers hold an empty fetch for longer: 200 questions a second from each worker are most of an idle cluster's work."""
    reader: Callable[..., dict[str, Any]] = kafka.reader
    kafka.reader = lambda *arguments: reader(*arguments) | {"fetch.wait.max.ms": _FETCH_WAIT_MS}


def main() -> None:
    orders, *patches = sys.argv[1:]
    faulthandler.register(STACKS_SIGNAL)
    Saboteur(OrderFile(Path(orders))).set_failpoints()
    for patch in patches:
        module, _, function = patch.partition(":")
        getattr(importlib.import_module(module), function)()
    sys.argv = ["marquee", "worker"]
    from ops.cli import main as marquee

    marquee()


if __name__ == "__main__":
    main()

"""Orders to a worker under sabotage: a file that the suite writes, and the worker takes away when it obeys."""

import faulthandler
import importlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.monitoring.failpoints import Point, set_failpoint

# On the way of a batch, in its order. `before-begin` is past the last question whether the batch is still ours.
POINTS = (
    "after-poll",
    "after-decode",
    "after-embed",
    "after-search",
    "before-begin",
    "after-first-produce",
    "after-send-offsets",
    "during-commit",
    "after-commit",
)
# Has it write into its log where each of its threads is.
STACKS_SIGNAL = signal.SIGUSR1
Action = Literal["kill", "stop", "sleep", "stall", "fail"]


@dataclass(frozen=True)
class Order:
    """What to do when a batch next comes by: SIGKILL or SIGSTOP to the own process, sleep in this thread (`sleep`), or
    hold up this thread and the one that polls (`stall`); or an error of the client's, with the transaction open (`fail`).
    """

    at: str
    do: Action
    seconds: float = 0.0


class OrderFile:
    """One order at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def give(self, order: Order) -> None:
        """Write the order, whole or not at all."""
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(order)))
        draft.replace(self.path)

    def withdraw(self) -> None:
        """Take back an order that was not obeyed."""
        self.path.unlink(missing_ok=True)

    @property
    def pending(self) -> bool:
        """Whether the order has not been obeyed yet."""
        return self.path.exists()

    def take(self, point: str) -> Order | None:
        """The order for this point, taken away; None where there is none."""
        try:
            order = Order(**json.loads(self.path.read_text()))
            if order.at != point:
                return None
            self.path.unlink()
        except FileNotFoundError:
            return None
        return order


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
        """Set the worker's failpoints to take the orders."""
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

"""A worker that does what it is ordered at named points of its commit path: `python -m ops.faults.saboteur ORDERS [PATCH…]`.

It wraps the worker's classes in this process and then runs `marquee worker`, so that the worker itself knows nothing of
it. A PATCH, `module:function`, is called before the worker starts; tests break the worker with it.
"""

import faulthandler
import importlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from ops.faults.orders import STACKS_SIGNAL, Order, OrderFile

# A commit on one node takes 1 to 2 ms: somewhere within it.
_WITHIN_COMMIT_SECONDS = 0.003
_FLUSH_SECONDS = 10.0
_FETCH_WAIT_MS = 100


class Saboteur:
    """Wraps the worker, and carries out orders."""

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

    def wrap(self) -> None:
        """Put the points into the worker's classes."""
        from schemas import kafka
        from worker.kafka import publish
        from worker.release.release import Release
        from worker.retrieval.retriever import Retriever
        from worker.serving.answer import Answerer
        from worker.stream.loop import Stream

        _fetch_calmly(kafka)
        self._before(Answerer, "_recommend", "after-decode")
        self._after(Retriever, "lists", "after-search")
        # The towers also embed one profile to warm up, in another thread.
        self._after(
            Release,
            "embed_profiles",
            "after-embed",
            lambda: threading.current_thread().name.startswith("answer"),
        )
        self._wrap_poll(Stream)
        self._wrap_produce(publish)
        publish.Producer = self._producer_class()  # type: ignore[attr-defined]

    def _before(self, owner: type, name: str, point: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.at(point)
            return original(*arguments, **named)

        setattr(owner, name, wrapped)

    def _after(self, owner: type, name: str, point: str, counts: Callable[[], bool] = lambda: True) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            if counts():
                self.at(point)
            return result

        setattr(owner, name, wrapped)

    def _wrap_poll(self, stream: Any) -> None:
        turn, poll = stream._turn, stream._poll

        def turn_if_not_stalled(itself: Any) -> None:
            time.sleep(max(0.0, self._polls_again_at - time.monotonic()))
            turn(itself)

        def poll_and_obey(itself: Any) -> None:
            poll(itself)
            if itself._taken:
                self.at("after-poll")

        stream._turn, stream._poll = turn_if_not_stalled, poll_and_obey

    def _wrap_produce(self, publish: Any) -> None:
        original = publish._produce

        def produce(producer: Producer, records: Sequence[Any]) -> None:
            order = self._take("after-first-produce")
            if order:
                original(producer, records[:1])
                producer.flush(_FLUSH_SECONDS)  # so that the broker has it
                self._carry_out(order)
                records = records[1:]
            original(producer, records)

        publish._produce = produce

    def _producer_class(self) -> type[Producer]:
        saboteur = self

        class SabotagedProducer(Producer):
            def begin_transaction(self) -> None:
                saboteur.at("before-begin")
                super().begin_transaction()

            def send_offsets_to_transaction(self, *arguments: Any) -> None:
                super().send_offsets_to_transaction(*arguments)
                saboteur.at("after-send-offsets")

            def commit_transaction(self, *arguments: Any) -> None:
                order = saboteur._take("during-commit")
                if order:
                    threading.Thread(target=saboteur._soon, args=(order,), daemon=True).start()
                super().commit_transaction(*arguments)
                saboteur.at("after-commit")

        return SabotagedProducer

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
    Saboteur(OrderFile(Path(orders))).wrap()
    for patch in patches:
        module, _, function = patch.partition(":")
        getattr(importlib.import_module(module), function)()
    sys.argv = ["marquee", "worker"]
    from ops.cli import main as marquee

    marquee()


if __name__ == "__main__":
    main()

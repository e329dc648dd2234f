"""Orders to a worker under sabotage: a file that the suite writes, and the worker takes away when it obeys."""

import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

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

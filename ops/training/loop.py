"""Epochs one after the other: progress, checkpoints, early stopping, and the best weights at the end."""

import gc
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ops.training.checkpoint import Checkpoints
from ops.training.devices import rank
from schemas.errors import MarqueeError

logger = logging.getLogger(__name__)

State = dict[str, Any]


class TrainingError(MarqueeError):
    """The training came to nothing."""


class Course(Protocol):
    """What is trained: a network, its data and its optimizer."""

    def epoch(self, number: int) -> Iterator[tuple[float, float]]:
        """One pass over the data, the same for the same number (from 0).

        Gives, after each step, the share of the pass that is done and the mean loss so far.
        """

    def measure(self) -> float:
        """How good the weights are on the validation part; lower is better."""

    def said(self, measured: float) -> str:
        """What was measured, as a person reads it: its name and its figure."""

    def weights(self) -> State:
        """A copy of the weights that were measured."""

    def state(self) -> State:
        """All that the next epoch depends on."""

    def restore(self, state: State) -> None:
        """Go on from a state."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a step."""

    share: float  # done, of all epochs
    epoch: int  # from 1
    loss: float  # mean over the epoch so far
    measured: list[float]  # after each epoch that is done
    said: list[str]  # the same, as a person reads it


@dataclass(frozen=True)
class Outcome:
    """What a training reached."""

    weights: State  # of the best epoch
    measured: list[float]  # after each epoch, lower is better
    seconds: float
    interrupted: bool


@dataclass
class _Run:
    """What a checkpoint holds beside the course's own state."""

    measured: list[float]
    best: State
    seconds: float

    @property
    def stale(self) -> int:
        """Epochs since the best."""
        return len(self.measured) - 1 - self.measured.index(min(self.measured)) if self.measured else 0


def run(
    course: Course,
    epochs: int,
    patience: int,
    *,
    checkpoints: Checkpoints | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train until the epochs are over, or `patience` of them brought nothing.

    When `interrupted` turns true, it stops after the step in hand, and the best weights so far are the result; that
    epoch is not in the checkpoint, so that a run that is resumed repeats it whole.

    Raises:
        TrainingError: the weights ran away.
    """
    past = _resumed(course, checkpoints)
    stopped = False
    gc.freeze()  # the data is many objects, and none of them garbage: not to be looked through at every step
    while len(past.measured) < epochs and past.stale <= patience and not stopped:
        began, epoch, loss = time.monotonic(), len(past.measured), 0.0
        for share, loss in course.epoch(epoch):
            said = [course.said(figure) for figure in past.measured]
            report(Progress((epoch + share) / epochs, epoch + 1, loss, past.measured, said))
            stopped = interrupted()
            if stopped:
                break
        if not math.isfinite(loss):
            raise _diverged(epoch + 1)
        _measure(course, past)
        past.seconds += time.monotonic() - began
        if checkpoints and not stopped and rank() == 0:
            checkpoints.write({"course": course.state(), "run": vars(past)})
    return Outcome(past.best, past.measured, past.seconds, stopped)


def _measure(course: Course, past: _Run) -> None:
    figure = course.measure()
    if not math.isfinite(figure):
        raise _diverged(len(past.measured) + 1)
    past.measured.append(figure)
    if figure == min(past.measured):
        past.best = course.weights()
    logger.debug("epoch %d: validation %.4f", len(past.measured), figure)


def _diverged(epoch: int) -> TrainingError:
    return TrainingError(f"the training diverged in epoch {epoch}: lower --lr")


def _resumed(course: Course, checkpoints: Checkpoints | None) -> _Run:
    kept = checkpoints.read() if checkpoints else None
    if kept is None:
        return _Run([], {}, 0.0)
    course.restore(kept["course"])
    return _Run(**kept["run"])

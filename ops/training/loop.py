"""Epochs: progress, learning rate, checkpoints, early stopping, and the best weights at the end."""

import gc
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ops.training.devices import rank
from schemas.errors import MarqueeError

logger = logging.getLogger(__name__)

State = dict[str, Any]


def checkpoints_folder() -> Path:
    """The default folder of checkpoints."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "marquee" / "checkpoints"


def stable_names() -> AbstractContextManager[None]:
    """Within this, parameters and an optimizer's state of them get the same names in every run.

    Paddle numbers them through a process, and an optimizer's state finds its place by name.
    """
    from worker.release.paddle_engine import paddle

    guard: AbstractContextManager[None] = paddle.utils.unique_name.guard()
    return guard


class Checkpoints:
    """The checkpoint of one configuration: data, split, hyper-parameters and seed name the file."""

    def __init__(self, folder: Path, configuration: dict[str, Any], *, resume: bool) -> None:
        digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"{digest[:16]}.checkpoint"
        self._resume = resume

    def read(self) -> dict[str, Any] | None:
        """The kept state; None where a run begins."""
        from worker.release.paddle_engine import paddle

        if not self._resume:
            return None
        if not self.path.is_file():
            logger.warning("there is no checkpoint of this configuration in %s: beginning", self.path.parent)
            return None
        kept: dict[str, Any] = paddle.load(str(self.path), return_numpy=True)
        return kept

    def write(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        from worker.release.paddle_engine import paddle

        partial = self.path.with_suffix(f".{os.getpid()}.part")
        paddle.save(state, str(partial))
        partial.replace(self.path)

    def remove(self) -> None:
        """Remove it, once there is a release instead."""
        self.path.unlink(missing_ok=True)


class TrainingError(MarqueeError):
    """The training failed."""


class Course(Protocol):
    """A training: a network, its data and its optimizer."""

    def epoch(self, number: int) -> Iterator[tuple[float, float]]:
        """One pass over the data, the same for the same number (from 0).

        Gives, after each step, the share of the pass that is done and the mean loss so far.
        """

    def measure(self) -> float:
        """How good the weights are on the validation part; lower is better."""

    def said(self, measured: float) -> str:
        """The measured figure with its name, for a person."""

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
    """The result of a training."""

    weights: State  # of the best epoch
    measured: list[float]  # after each epoch, lower is better
    seconds: float
    interrupted: bool


@dataclass
class _Run:
    """The content of a checkpoint beside the course's own state."""

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

    When `interrupted` turns true, it stops after the current step, and the best weights so far are the result; that
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


def warmed_cosine(done: float, warm_up: float) -> float:
    """Share of the highest learning rate, by the share of all steps that is done; `warm_up` is that of the rise."""
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (done - warm_up) / (1.0 - warm_up)))

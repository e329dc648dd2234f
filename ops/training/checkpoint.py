"""What a training that is cut off goes on from: one file a configuration, replaced after every epoch."""

import hashlib
import json
import logging
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def checkpoints_folder() -> Path:
    """Where checkpoints are kept where nobody says otherwise."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "marquee" / "checkpoints"


def stable_names() -> AbstractContextManager[None]:
    """Parameters, and what an optimizer keeps of them, are named the same in every run where they are made within this.

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
        """What to go on from; None where a run should begin, or has to."""
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

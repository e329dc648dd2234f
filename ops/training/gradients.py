"""Data parallel training on several GPUs: each takes its share of the batches, and gradients are averaged.

Untested: nothing here has run on more than one device.
"""

from collections.abc import Iterable
from typing import Any

from worker.paddle_engine import paddle


def devices() -> int:
    """Processes that train together; 1 unless they were started so."""
    return int(paddle.distributed.get_world_size())


def rank() -> int:
    """Which of them this is, from 0."""
    return int(paddle.distributed.get_rank())


def average_over_devices(parameters: Iterable[Any]) -> None:
    """Replace each gradient by its mean over the devices."""
    if devices() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            paddle.distributed.all_reduce(parameter.grad)
            parameter.grad.scale_(1.0 / devices())

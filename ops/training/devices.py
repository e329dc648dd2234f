"""Data parallel training on several GPUs: each takes its share of the batches, and gradients are averaged.

Tried with two processes on the CPU (tests/unit/test_devices.py); no machine with several GPUs has run it yet.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from worker.release.paddle_engine import gpu_obstacle, paddle


def spawn(train: Callable[..., None], *arguments: Any) -> None:
    """Run `train` once, or once for each GPU where there are several; the processes then train together."""
    gpus = 0
    if gpu_obstacle() is None:
        paddle.set_device("gpu")
        gpus = paddle.device.cuda.device_count()
    if gpus > 1:
        paddle.distributed.spawn(_joined, args=(train, *arguments), nprocs=gpus)
    else:
        train(*arguments)


def _joined(train: Callable[..., None], *arguments: Any) -> None:
    paddle.distributed.init_parallel_env()
    train(*arguments)


def devices() -> int:
    """Processes that train together; 1 unless they were spawned so."""
    return int(paddle.distributed.get_world_size())


def rank() -> int:
    """The number of this process among them, from 0; only the first writes and reports."""
    return int(paddle.distributed.get_rank())


def average_gradients(parameters: Iterable[Any]) -> None:
    """Replace each gradient by its mean over the devices."""
    if devices() == 1:
        return
    with paddle.no_grad():  # a gradient is a leaf, which is otherwise not changed in place
        for parameter in parameters:
            if parameter.grad is not None:
                paddle.distributed.all_reduce(parameter.grad)
                parameter.grad.scale_(1.0 / devices())


def agreed(value: float) -> float:
    """The first device's value, on all of them: what decides when to stop must be the same everywhere."""
    if devices() == 1:
        return value
    tensor = paddle.to_tensor([value], "float64")
    paddle.distributed.broadcast(tensor, src=0)
    return float(tensor.numpy()[0])


def use_threads(threads: int) -> None:
    """CPU threads of training; 0 takes every core that this process may use."""
    # Views of transposed tensors are copied element by element, again and again, which costs more than one real transposition.
    paddle.set_flags({"FLAGS_use_stride_kernel": False})
    paddle.base.core.set_num_threads(threads or len(os.sched_getaffinity(0)))

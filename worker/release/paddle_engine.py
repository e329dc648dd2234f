"""The one import of Paddle: every other module imports it from here."""

import os
import signal
import threading
import warnings
from functools import cache

# Paddle 2.6 dies of a segmentation fault when numpy.random is first imported after it.
import numpy as np
import numpy.random
from numpy.typing import NDArray

from schemas.errors import SettingsError
from schemas.manifest import ProgramFormat

# Paddle reads this at import: warnings and up, not a line for every program that is loaded.
os.environ.setdefault("GLOG_minloglevel", "2")

with warnings.catch_warnings():
    # 3.x warns about a missing ccache, which only the compilation of operators needs.
    warnings.simplefilter("ignore")
    try:
        import paddle
    except ImportError as error:
        raise SettingsError(
            f"Paddle cannot be loaded ({error}): install marquee[cpu] or marquee[gpu], and the system's OpenMP runtime "
            "if libgomp is missing (Debian: apt install libgomp1)"
        ) from None


def _take_signals_back() -> None:
    """Disable Paddle's signal handlers, so that a crash ends the process.

    They allocate memory. After a crash with the allocator locked (a double free in any library) the process would hang
    forever, and no supervisor would see it. Paddle disables them together with our handler of SIGTERM.
    """
    if threading.current_thread() is threading.main_thread():
        ours = signal.getsignal(signal.SIGTERM)
        paddle.disable_signal_handler()
        signal.signal(signal.SIGTERM, signal.SIG_DFL if ours is None else ours)


_take_signals_back()

# Code that needs a GPU checks `gpu_obstacle` and asks for it. Paddle's own default is any GPU that it finds.
paddle.set_device("cpu")

__all__ = ["NATIVE_FORMAT", "READABLE_FORMATS", "VERSION", "gpu_obstacle", "paddle"]

VERSION: str = paddle.__version__

# 2.x dies of a segmentation fault on `pir`; 3.x reads both and cannot write `pdmodel`.
NATIVE_FORMAT: ProgramFormat = "pdmodel" if VERSION.startswith("2.") else "pir"
READABLE_FORMATS: frozenset[ProgramFormat] = frozenset({"pdmodel", NATIVE_FORMAT})


@cache
def gpu_obstacle() -> str | None:
    """The reason why this Paddle cannot compute on a GPU here; None if it can.

    Computes on the first GPU: without kernels for a card, Paddle raises nothing and returns zeros
    (seen with 2.6.2 of PyPI, whose kernels are for 6.1 to 8.6, on an H100, which is 9.0).
    """
    if not paddle.is_compiled_with_cuda():
        return f"this Paddle {VERSION} is a build for the CPU"
    if paddle.device.cuda.device_count() == 0:
        return f"Paddle {VERSION} finds no GPU"
    numbers = np.arange(1, 5, dtype=np.float32)
    try:
        doubled = _doubled_on_gpu(numbers)
        capability = ".".join(map(str, paddle.device.cuda.get_device_capability(0)))
    except (OSError, RuntimeError, ValueError) as error:  # what Paddle makes of its own and of CUDA's
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return f"Paddle {VERSION} finds a GPU, and fails there ({last})"
    if not np.array_equal(doubled, 2 * numbers):
        return (
            f"Paddle {VERSION}, a build for CUDA {paddle.version.cuda()}, gives wrong results on this GPU, whose compute "
            f"capability is {capability}: a build without kernels for it does so"
        )
    return None


def _doubled_on_gpu(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    sent = paddle.to_tensor(numbers, place=paddle.CUDAPlace(0))
    doubled: NDArray[np.float32] = (sent + sent).numpy()
    return doubled

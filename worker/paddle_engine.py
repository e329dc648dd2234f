"""Paddle, imported once and quietly. Everything of ours that needs Paddle imports it from here."""

import os
import signal
import threading
import warnings

# Paddle 2.6 dies of a segmentation fault when numpy.random is first imported after it.
import numpy.random  # noqa: F401

from schemas.errors import SettingsError
from schemas.manifest import ProgramFormat

# Paddle reads this at import: warnings and up, not a line for every program that is loaded.
os.environ.setdefault("GLOG_minloglevel", "2")

with warnings.catch_warnings():
    # 3.x warns about a missing ccache, which only those need who compile operators.
    warnings.simplefilter("ignore")
    try:
        import paddle
    except ImportError as error:
        raise SettingsError(
            f"Paddle cannot be loaded ({error}): install marquee[cpu] or marquee[gpu], and the system's OpenMP runtime "
            "where libgomp is what is missing (Debian: apt install libgomp1)"
        ) from None


def _take_signals_back() -> None:
    """Have a crash end the process.

    Paddle's handlers allocate memory, and where a crash left the allocator locked (a double free in any library) the
    process stands still for good, which no supervisor sees. They go all at once, with ours of SIGTERM.
    """
    if threading.current_thread() is threading.main_thread():
        ours = signal.getsignal(signal.SIGTERM)
        paddle.disable_signal_handler()
        signal.signal(signal.SIGTERM, signal.SIG_DFL if ours is None else ours)


_take_signals_back()

__all__ = ["NATIVE_FORMAT", "READABLE_FORMATS", "VERSION", "gpu_available", "paddle"]

VERSION: str = paddle.__version__

# 2.x dies of a segmentation fault on `pir`; 3.x reads both and cannot write `pdmodel`.
NATIVE_FORMAT: ProgramFormat = "pdmodel" if VERSION.startswith("2.") else "pir"
READABLE_FORMATS: frozenset[ProgramFormat] = frozenset({"pdmodel", NATIVE_FORMAT})


def gpu_available() -> bool:
    """Whether this Paddle is built for CUDA and finds a device."""
    return bool(paddle.is_compiled_with_cuda()) and paddle.device.cuda.device_count() > 0

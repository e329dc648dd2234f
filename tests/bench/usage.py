"""What a process and its children use: CPU and memory, sampled while they run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil

_EVERY_SECONDS = 0.1

Sample = tuple[float, float]  # seconds since 1970, CPU seconds


class Usage(threading.Thread):
    """Samples some process trees, servers not among them, until it is stopped."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        super().__init__(name="usage", daemon=True)
        self._pids = pids
        self._stopping = threading.Event()
        self.cpu: list[Sample] = []
        self.peak_bytes = 0

    def run(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            seconds, resident = 0.0, 0
            for process in self._tree():
                with suppress(psutil.Error), process.oneshot():
                    times = process.cpu_times()
                    seconds += times.user + times.system
                    resident += process.memory_info().rss
            self.cpu.append((time.time(), seconds))
            self.peak_bytes = max(self.peak_bytes, resident)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join()

    def _tree(self) -> Iterator[psutil.Process]:
        for pid in self._pids():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                yield process
                yield from process.children(recursive=True)

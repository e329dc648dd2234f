"""Whether Paddle may compute on a GPU, told without one."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from ops.training import devices
from schemas.errors import SettingsError
from worker.release import paddle_engine
from worker.release.paddle_engine import gpu_obstacle, paddle
from worker.release.tower import choose_device

pytestmark = pytest.mark.paddle


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Paddle that says it is built for CUDA, and sees an H100; what comes of it the test says (2.6 for the CPU ends the process)."""
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda _device: (9, 0))
    gpu_obstacle.cache_clear()
    yield
    gpu_obstacle.cache_clear()


def doubles(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """A card that multiplies by `factor` when it should double."""

    def doubled(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return factor * numbers

    monkeypatch.setattr(paddle_engine, "_doubled_on_gpu", doubled)


def test_a_build_for_the_cpu_has_none() -> None:
    assert "build for the CPU" in str(gpu_obstacle())
    assert choose_device("auto") == "cpu"
    with pytest.raises(SettingsError, match="build for the CPU"):
        choose_device("gpu")


@pytest.mark.usefixtures("card")
def test_a_card_that_computes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    doubles(monkeypatch, 2)
    assert gpu_obstacle() is None
    assert [choose_device("auto"), choose_device("gpu"), choose_device("cpu")] == ["gpu", "gpu", "cpu"]


@pytest.mark.usefixtures("card")
def test_a_card_that_gives_zeros_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    doubles(monkeypatch, 0)
    assert choose_device("auto") == "cpu"
    assert "compute capability is 9.0" in caplog.text
    with pytest.raises(SettingsError, match="wrong results"):
        choose_device("gpu")


@pytest.mark.usefixtures("card")
def test_a_card_that_fails_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        raise OSError("(External) CUDA error(209), no kernel image is available for execution on the device.")

    monkeypatch.setattr(paddle_engine, "_doubled_on_gpu", fails)
    assert choose_device("auto") == "cpu"
    assert "fails there ((External) CUDA error(209)" in str(gpu_obstacle())


# A build for the CPU chooses it by itself, so what is chosen is looked at.
CHOSEN = """
import numpy.random, paddle
chosen, choose = [], paddle.set_device
paddle.set_device = lambda device: chosen.append(device) or choose(device)
import worker.release.paddle_engine
print(chosen)
"""


def test_nothing_is_computed_on_a_gpu_unasked() -> None:
    done = subprocess.run([sys.executable, "-c", CHOSEN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['cpu']"


@pytest.mark.parametrize(("obstacle", "chosen"), [(None, ["gpu"]), ("it gives zeros", [])])
def test_training_asks_for_a_gpu_that_computes(
    obstacle: str | None, chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    trained: list[int] = []
    monkeypatch.setattr(devices, "gpu_obstacle", lambda: obstacle)
    monkeypatch.setattr(paddle, "set_device", asked.append)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)

    devices.spawn(trained.append, 7)

    assert (asked, trained) == (chosen, [7])

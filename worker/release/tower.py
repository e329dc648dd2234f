"""One tower of a release: a Paddle inference program from input arrays to vectors, and the sentinels that check it."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SettingsError
from schemas.manifest import Manifest
from schemas.manifest import Tower as TowerFiles
from worker.errors import ForeignVectorsError, UnreadableReleaseError
from worker.release.paddle_engine import READABLE_FORMATS, VERSION, gpu_obstacle, paddle

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "gpu"]
Rows = NDArray[np.int64] | NDArray[np.float32]
Inputs = Mapping[str, Rows]
Vectors = NDArray[np.float32]

# Relative to the longest of the known vectors. Batches of other sizes and paddings differ by 1e-5, on a GPU that
# rounds products to TF32 by 1e-3; vectors of unlike rows by tenths.
_WITHIN = 1e-2
# Two sentinels that are not this far apart could stand for each other, and only one of them is kept.
_APART = 1e-1

# Paddle takes this much of the GPU's memory at once; a tower needs far less.
GPU_POOL_MB = 256


class Tower:
    """A loaded program; several threads may use one.

    Its predictor has one set of buffers, so a lock lets one call at a time fill, run and read them. A sentinel in each call
    shows whether the vectors are the caller's own.
    """

    def __init__(
        self, folder: Path, files: TowerFiles, manifest: Manifest, device: Device, threads: int
    ) -> None:
        """Load a program whose files were checked before.

        Raises:
            UnreadableReleaseError: this Paddle cannot read the program.
            SettingsError: `device` is gpu, and there is none.
        """
        require_readable(manifest)
        self.inputs = tuple(tensor.name for tensor in files.inputs)
        self.dimension = manifest.dimension
        self.device = choose_device(device)
        config = _config(folder, files, self.device, threads)
        try:
            self._predictor = paddle.inference.create_predictor(config)
        except Exception as error:
            raise UnreadableReleaseError(
                f"Paddle {VERSION} cannot load {files.program} of release {manifest.release}, which Paddle "
                f"{manifest.paddle_version} wrote: run `marquee export {manifest.release}` under this Paddle"
            ) from error
        self._handles = {name: self._predictor.get_input_handle(name) for name in self.inputs}
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])
        self._lock = threading.Lock()
        self._sentinels: Sentinels | None = None

    def watch(self, rows: Inputs) -> None:
        """Add one of these rows to each call from now on. Their vectors are computed first, while no other thread uses the tower."""
        self._sentinels = Sentinels(rows, self._run(rows))

    def embed(self, inputs: Inputs) -> NDArray[np.float32]:
        """Vectors, float32 [n, dimension], of n rows of every input by name.

        Raises:
            ForeignVectorsError: the vectors are another call's; call again.
        """
        count = len(inputs[self.inputs[0]])
        if count == 0:
            return np.empty((0, self.dimension), np.float32)
        sentinel = self._sentinels.next() if self._sentinels else None
        if sentinel is None:
            return self._run(inputs)
        vectors = self._run(sentinel.beside(inputs))
        sentinel.check(vectors, count + 1)
        return vectors[:count]

    def _run(self, inputs: Inputs) -> NDArray[np.float32]:
        with self._lock:
            for name, handle in self._handles.items():
                handle.copy_from_cpu(inputs[name])
            self._predictor.run()
            vectors: NDArray[np.float32] = self._output.copy_to_cpu()
            return vectors


def _config(
    folder: Path, files: TowerFiles, device: Literal["cpu", "gpu"], threads: int
) -> paddle.inference.Config:
    config = paddle.inference.Config(str(folder / files.program), str(folder / files.parameters))
    config.disable_glog_info()
    if device == "gpu":
        config.enable_use_gpu(GPU_POOL_MB, 0)
    else:
        config.disable_gpu()
        # oneDNN fails when the length of a sequence changes between two runs.
        config.disable_mkldnn()
        config.set_cpu_math_library_num_threads(threads)
    return config


def require_readable(manifest: Manifest) -> None:
    """Raise UnreadableReleaseError where loading the programs would fail, or end the process."""
    if manifest.program_format not in READABLE_FORMATS:
        raise UnreadableReleaseError(
            f"release {manifest.release} holds programs of Paddle {manifest.paddle_version} "
            f"({manifest.program_format}), which Paddle {VERSION} cannot read: "
            f"run `marquee export {manifest.release}` under Paddle {VERSION}, and index the release it writes"
        )


def choose_device(wanted: Device) -> Literal["cpu", "gpu"]:
    """The device for `wanted`; `auto` takes the GPU where Paddle has one."""
    if wanted == "cpu":
        return "cpu"
    obstacle = gpu_obstacle()
    if obstacle is None:
        return "gpu"
    if wanted == "gpu":
        raise SettingsError(
            f"the device is set to gpu, and {obstacle}: set it to cpu or auto, or install the driver and a build of Paddle "
            "for this GPU"
        )
    if paddle.is_compiled_with_cuda():
        logger.warning("%s: towers run on the CPU", obstacle)
    return "cpu"


@dataclass(frozen=True)
class Sentinel:
    """One row of every input, and the vector that the tower gives for it."""

    row: Inputs
    vector: Vectors
    within_squared: float

    def beside(self, inputs: Inputs) -> dict[str, Rows]:
        """The inputs with this row after their last."""
        row = self.row
        return {name: _with(rows, row[name]) for name, rows in inputs.items()}

    def check(self, vectors: Vectors, rows: int) -> None:
        """Check the vectors of `rows` rows, of which this one is the last.

        Raises:
            ForeignVectorsError: they are not the vectors of these rows.
        """
        apart = vectors[-1] - self.vector
        if len(vectors) != rows or not apart.dot(apart) <= self.within_squared:
            raise ForeignVectorsError("a tower gave vectors that are not those of its batch")


class Sentinels:
    """Sentinels in turn, so that two calls at once carry different ones; any number of threads may share it."""

    def __init__(self, rows: Inputs, vectors: Vectors) -> None:
        """`vectors` [rows, dimension] are the tower's for `rows`, computed while no other call was in it."""
        lengths = np.linalg.norm(vectors, axis=1)
        scale = float(lengths.max(initial=0.0, where=np.isfinite(lengths)))
        kept = _unlike(vectors, _APART * scale)
        self._all = [
            Sentinel(
                {name: of[place : place + 1] for name, of in rows.items()},
                vectors[place],
                (_WITHIN * scale) ** 2,
            )
            for place in kept
        ]
        self._turn = count()

    def next(self) -> Sentinel | None:
        """The next sentinel; None for a tower that gives all rows one vector."""
        return self._all[next(self._turn) % len(self._all)] if len(self._all) > 1 else None


def _unlike(vectors: Vectors, apart: float) -> list[int]:
    """Places of finite vectors, each further than `apart` from all others."""
    kept: list[int] = []
    for place, vector in enumerate(vectors):
        if np.isfinite(vector).all() and all(np.linalg.norm(vector - vectors[k]) > apart for k in kept):
            kept.append(place)
    return kept


def _with(rows: NDArray[Any], row: NDArray[Any]) -> NDArray[Any]:
    """Rows and one more, padded with 0 to their width."""
    if rows.ndim > 1:
        row = np.pad(row, ((0, 0), (0, rows.shape[1] - row.shape[1])))
    return np.concatenate((rows, row))

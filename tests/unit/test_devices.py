"""Training in step, by two processes on the CPU where a machine has several GPUs. Paddle 2.6 and 3.3."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.paddle

# Each rank: the mean of its gradient and the other's, what it agrees to, and what its weights are after a training.
TRAINING = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from ops.data.movielens import load
from ops.training.devices import agreed, average_gradients, devices, rank
from ops.training.train import Source, fit_sequence
from tests.testbed.releases import small_sequence
from worker.release.paddle_engine import paddle

def train(data, out):
    paddle.distributed.init_parallel_env()
    weight = paddle.create_parameter([3], "float32")
    (weight * (1.0 + 2.0 * rank())).sum().backward()
    average_gradients([weight, paddle.create_parameter([3], "float32")])
    weights = fit_sequence(Source(load(Path(data)), Path(data)), small_sequence()).outcome.weights
    whole = b"".join(np.ascontiguousarray(weights[name]).tobytes() for name in sorted(weights))
    said = {
        "devices": devices(),
        "gradient": weight.grad.numpy().tolist(),
        "agreed": agreed(7.0 + rank()),
        "weights": hashlib.sha256(whole).hexdigest(),
    }
    Path(out, f"{rank()}.json").write_text(json.dumps(said))

if __name__ == "__main__":
    paddle.distributed.spawn(train, args=tuple(sys.argv[1:]), nprocs=2, backend="gloo")
"""


def test_two_processes_average_their_gradients_and_end_with_the_same_weights(
    generated_data: Path, tmp_path: Path
) -> None:
    script = tmp_path / "training.py"
    script.write_text(TRAINING)

    run = subprocess.run(
        [sys.executable, str(script), str(generated_data), str(tmp_path)],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert run.returncode == 0, run.stderr[-2_000:]
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other
    assert one["devices"] == 2
    assert one["gradient"] == [2.0, 2.0, 2.0]  # of 1 and 3
    assert one["agreed"] == 7.0

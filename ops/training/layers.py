"""The costly layers of a training, in fewer passes over memory than Paddle's own, with the same results."""

from typing import Any

import numpy as np

from worker.release.paddle_engine import paddle

Tensor = Any

# Rows of logits at a time: with some 3,400 movies they fit into a core's cache, and a batch's would not.
ROWS_AT_A_TIME = 192


class Dropout(paddle.nn.Layer):  # type: ignore[misc]
    """Zeros a share of the elements while training; the share is a multiple of 1/256.

    On a CPU Paddle draws each element from a Mersenne twister, which costs more than the attention that it is for.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.kept = 256 - round(256 * share)
        self.seed(0)

    def seed(self, *seed: int) -> None:
        """Begin a sequence of masks."""
        self._random = np.random.Generator(np.random.SFC64(seed))

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape."""
        if not self.training or self.kept == 256:
            return values
        if values.place.is_gpu_place():
            return paddle.nn.functional.dropout(values, 1.0 - self.kept / 256)
        drawn = np.frombuffer(self._random.bytes(int(np.prod(values.shape))), np.uint8)
        mask = np.multiply(drawn < self.kept, np.float32(256 / self.kept), dtype=np.float32)
        return values * paddle.to_tensor(mask.reshape(values.shape))


class Linear(paddle.nn.Linear):  # type: ignore[misc]
    """A linear layer whose bias gets its gradient by a product, an order of magnitude faster than Paddle's reduction."""

    def forward(self, values: Tensor) -> Tensor:
        """[..., from] gives [..., to]."""
        if not self.training:
            return paddle.nn.functional.linear(values, self.weight, self.bias)
        return _Biased.apply(paddle.matmul(values, self.weight), self.bias)


class _Biased(paddle.autograd.PyLayer):  # type: ignore[misc]
    @staticmethod
    def forward(_context: Any, values: Tensor, bias: Tensor) -> Tensor:
        return values + bias

    @staticmethod
    def backward(_context: Any, of_sum: Tensor) -> tuple[Tensor, Tensor]:
        rows = of_sum.reshape([-1, of_sum.shape[-1]])
        return of_sum, paddle.matmul(paddle.ones([1, len(rows)]), rows).squeeze(0)


class _LogTotals(paddle.autograd.PyLayer):  # type: ignore[misc]
    @staticmethod
    def forward(context: Any, states: Tensor, table: Tensor, weights: Tensor) -> Tensor:
        ones, of_table = paddle.ones([len(table), 1]), paddle.zeros_like(table)
        sums, of_states = [], []
        for start in range(0, len(states), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            # Not shifted by their largest, as is usual: a model that learns stays far below 88, where they would overflow.
            odds = paddle.exp(paddle.matmul(states[rows], table, transpose_y=True))
            sums.append(total := paddle.matmul(odds, ones))
            weight = weights[rows] / total
            of_states.append(paddle.matmul(odds, table) * weight)
            of_table += paddle.matmul(odds, states[rows] * weight, transpose_x=True)
        context.save_for_backward(paddle.concat(of_states), of_table)
        return (paddle.log(paddle.concat(sums)) * weights).sum()

    @staticmethod
    def backward(context: Any, of_loss: Tensor) -> tuple[Tensor, Tensor, None]:
        of_states, of_table = context.saved_tensor()
        return of_states * of_loss, of_table * of_loss, None


def softmax_loss(states: Tensor, table: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the inner products of `states` [n, d] and the rows of `table` [m, d], summed by `weights` [n, 1].

    `wanted` [n, d] is the row of the table that is wanted, or the mean of several. The gradient is made on the way, so that
    no more than a few rows of logits are ever in memory.
    """
    return _LogTotals.apply(states, table, weights) - (states * wanted * weights).sum()

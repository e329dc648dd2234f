"""The layers that training spends its time on: the same figures as Paddle's own, and masks that are what they say. Paddle 2.6 and 3.3."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ops.training.layers import ROWS_AT_A_TIME, Dropout, Linear, softmax_loss
from worker.release.paddle_engine import paddle

pytestmark = pytest.mark.paddle

STATES, MOVIES, SIZE = 2 * ROWS_AT_A_TIME + 7, 50, 8
TOLERANCE = 1e-5


def _gradients(loss: Callable[..., Any], *inputs: np.ndarray) -> list[np.ndarray]:
    """The loss of float inputs, three times as much of it as there is, and its gradients."""
    tensors = [paddle.to_tensor(each, stop_gradient=False) for each in inputs]
    value = loss(*tensors)
    (3.0 * value).backward()
    return [value.numpy(), *(tensor.grad.numpy() for tensor in tensors)]


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_the_loss_of_one_wanted_movie_each_is_cross_entropy() -> None:
    wanted = paddle.to_tensor(np.arange(STATES) % MOVIES)
    weights = paddle.full([STATES, 1], 1.0 / STATES)

    ours = _gradients(
        lambda states, table: softmax_loss(states, table, paddle.gather(table, wanted), weights),
        _normal(STATES, SIZE),
        _normal(MOVIES, SIZE),
    )

    theirs = _gradients(
        lambda states, table: paddle.nn.functional.cross_entropy(
            paddle.matmul(states, table, transpose_y=True), wanted
        ),
        _normal(STATES, SIZE),
        _normal(MOVIES, SIZE),
    )
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=TOLERANCE, rtol=1e-4)


def test_the_loss_of_many_wanted_movies_is_cross_entropy_with_their_shares() -> None:
    shares = np.random.default_rng(0).random((STATES, MOVIES)).astype(np.float32) ** 8
    shares /= shares.sum(axis=1, keepdims=True)
    weights = np.linspace(0.0, 2.0 / STATES, STATES, dtype=np.float32)[:, None]

    ours = _gradients(
        lambda states, table: softmax_loss(
            states, table, paddle.matmul(paddle.to_tensor(shares), table), paddle.to_tensor(weights)
        ),
        _normal(STATES, SIZE),
        _normal(MOVIES, SIZE),
    )

    def cross_entropy(states: Any, table: Any) -> Any:
        logits = paddle.matmul(states, table, transpose_y=True)
        each = paddle.nn.functional.cross_entropy(
            logits, paddle.to_tensor(shares), soft_label=True, reduction="none"
        )
        return (each * paddle.to_tensor(weights)).sum()

    theirs = _gradients(cross_entropy, _normal(STATES, SIZE), _normal(MOVIES, SIZE))
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=TOLERANCE, rtol=1e-4)


def test_a_linear_layer_learns_what_paddles_does() -> None:
    paddle.seed(0)
    ours = Linear(SIZE, 3)
    theirs = paddle.nn.Linear(SIZE, 3)
    theirs.set_state_dict(ours.state_dict())
    values = paddle.to_tensor(_normal(4, 5, SIZE))

    for layer in (ours, theirs):
        (layer(values) ** 2).sum().backward()

    np.testing.assert_allclose(ours.bias.grad.numpy(), theirs.bias.grad.numpy(), rtol=1e-4)
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-4)
    ours.eval()
    np.testing.assert_allclose(ours(values).numpy(), theirs(values).numpy(), atol=TOLERANCE)


def test_dropout_zeros_its_share_and_keeps_the_mean() -> None:
    dropout = Dropout(0.25)
    ones = paddle.ones([200, 500])

    dropped = dropout(ones).numpy()

    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)
    dropout.eval()
    assert (dropout(ones).numpy() == 1.0).all()


def test_dropout_drops_the_same_again_for_the_same_seed_alone() -> None:
    dropout, ones = Dropout(0.5), paddle.ones([40, 50])

    def after(*seed: int) -> list[float]:
        dropout.seed(*seed)
        values: list[float] = dropout(ones).numpy().ravel().tolist()
        return values

    assert after(0, 1) == after(0, 1) != after(0, 2)

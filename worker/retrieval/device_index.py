"""Exact search on Paddle's device: the product and the best of each row on the GPU, beside the user tower.

A batch goes over in pinned memory, and comes back in one piece, which is the only wait for the device. What is hidden is
written here and sent along, so that filters and withdrawals mean the same as in `worker.retrieval.exact`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Literal

import numpy as np

from worker.release.paddle_engine import paddle
from worker.retrieval.exact import ExactIndex
from worker.retrieval.lists import Ids, Places, Vectors

# Past the last that is wanted, for ties there; a row that ties for longer is looked at again with twice as many.
_SPARE = 3
# Products at a time: 64 M are 256 MB on the device, and as much again for what is hidden.
_BLOCK_PRODUCTS = 1 << 26


@dataclass(frozen=True)
class DeviceIndex(ExactIndex):
    """An `ExactIndex` whose products are made on a device of Paddle's; batches of several threads go one after another."""

    device: Literal["cpu", "gpu"]
    _turn: Lock = field(default_factory=Lock, repr=False, compare=False)

    def _candidates(
        self, queries: Vectors, ks: Ids, slack: float, hide: Callable[[Vectors, int], None]
    ) -> tuple[Places, Places, Vectors]:
        """As `ExactIndex._candidates`."""
        movies = len(self.movie_ids)
        size = max(1, _BLOCK_PRODUCTS // max(1, movies))
        found = [(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32))]
        for start in range(0, len(queries), size):
            block = queries[start : start + size]
            penalties = np.zeros((len(block), movies), np.float32)
            hide(penalties, start)
            with self._turn:
                row, place, product = self._reaching(block, penalties, ks[start : start + size], slack)
            found.append((row + start, place, product))
        row, place, product = map(np.concatenate, zip(*found, strict=True))
        return row, place, product

    def _reaching(
        self, queries: Vectors, penalties: Vectors, ks: Ids, slack: float
    ) -> tuple[Places, Places, Vectors]:
        """Row, place and product of what reaches each row's `ks`-th best, less `slack`."""
        movies = len(self.movie_ids)
        products = paddle.matmul(self._sent(queries), self._columns_there) + self._sent(penalties)
        wanted = np.minimum(ks, movies)
        many = int(wanted.max(initial=1)) + _SPARE
        while True:
            many = min(many, movies)
            values, places = self._best(products, many)
            floor = values[np.arange(len(ks)), wanted - 1]
            floor = np.where(ks <= movies, floor - slack - np.abs(floor) * np.float32(2**-21), -np.inf)
            reach = (values >= floor[:, None]) & (values > -np.inf)
            if many == movies or not reach[:, -1].any():
                return np.nonzero(reach)[0], places[reach], values[reach]
            many *= 2

    def _best(self, products: "paddle.Tensor", many: int) -> tuple[Vectors, Places]:
        """The `many` best of each row, best first; both halves in one transfer, as numbers that hold either."""
        values, places = paddle.topk(products, many, axis=1)
        both = paddle.concat([values.astype("float64"), places.astype("float64")], axis=1).numpy()
        return both[:, :many].astype(np.float32), both[:, many:].astype(np.intp)

    def _sent(self, array: Vectors) -> "paddle.Tensor":
        """An array on the device, on its way there at least."""
        if self.device == "cpu":
            return paddle.to_tensor(array, place=paddle.CPUPlace())
        pinned = paddle.to_tensor(array, place=paddle.CUDAPinnedPlace())
        return pinned.cuda(blocking=False)

    @cached_property
    def _columns_there(self) -> "paddle.Tensor":
        return self._sent(np.ascontiguousarray(self.vectors.T))

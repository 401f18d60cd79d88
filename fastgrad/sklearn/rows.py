"""Rows of the data in, batches out: views of memory that is filled in an epoch's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

Array = NDArray[Any]
GATHERED = 1 << 18  # bytes of x gathered at a time: while it takes longer, workers fall asleep
BLOCK = 1024  # rows of a sparse x that are dense at a time


class Rows(NamedTuple):
    """x (N, K), C-contiguous or sparse by rows; y as the loss takes it; weights (N,), or None."""

    x: Any
    y: Array
    weights: Array | None

    def some(self, which: Array | slice) -> Rows:
        """The rows that are numbered, or a slice of them."""
        x, y, weights = self
        return Rows(x[which], y[which], None if weights is None else weights[which])


class Batches:
    """Batches of ``size`` rows, the last one of what is left, dense."""

    def __init__(self, rows: Rows, size: int) -> None:
        self._rows, self._size, self.count = rows, size, rows.x.shape[0]
        row_bytes = size * rows.x.shape[1] * rows.x.dtype.itemsize
        self._some = min(size * max(1, GATHERED // row_bytes), self.count)
        x, y, weights = (
            a if a is None else np.empty((self._some, *a.shape[1:]), a.dtype) for a in rows
        )
        self._memory = Rows(x, y, weights)  # type: ignore[arg-type]  # y is not None
        self._cuts: dict[int, list[tuple[Rows, int]]] = {}

    def __call__(self, order: NDArray[np.int64] | None) -> Iterator[tuple[Rows, int]]:
        """(rows, how many) of a pass, in this order or as they stand."""
        if order is None and not issparse(self._rows.x):
            yield from _cut(self._rows, self._size, self.count)
            return
        order = np.arange(self.count) if order is None else order
        for start in range(0, self.count, self._some):
            part = order[start : start + self._some]
            for a, to in zip(self._rows, self._memory, strict=True):
                if a is not None:
                    _gather(a, part, to[: len(part)])
            if len(part) not in self._cuts:  # at most two
                self._cuts[len(part)] = list(_cut(self._memory, self._size, len(part)))
            yield from self._cuts[len(part)]


def dense(call: Callable[[Array], Array], x: Any) -> Array:
    """call(x) for a call whose rows depend on one row each; of a sparse x a block at a time."""
    if not issparse(x):
        return call(x)
    x = x.tocsr()
    blocks = range(0, x.shape[0], BLOCK)
    return np.concatenate([call(x[start : start + BLOCK].toarray()) for start in blocks])


def _cut(rows: Rows, size: int, count: int) -> Iterator[tuple[Rows, int]]:
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        yield rows.some(part), part.stop - start


def _gather(a: Any, which: Array, to: Array) -> None:
    if issparse(a):
        to[...] = a[which].toarray()
    else:
        a.take(which, 0, to, "clip")  # "raise" would copy through a buffer

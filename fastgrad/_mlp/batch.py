"""Rows of a call: x and y of a user in, checked arrays out; and an epoch's data in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops import checks, losses
from .config import Config

Array = NDArray[Any]
Pair = tuple[Array, Array]


def looked_at_x(config: Config, caller: str, x: Array) -> Array:
    """x (N, sizes[0]) of any dtype; 64-bit integers, which numpy promotes to float64, as that."""
    x = checks.array(caller, "x", x)
    if x.ndim != 2 or x.shape[1] != config.sizes[0]:
        raise ValueError(f"{caller}: x has shape {x.shape}; pass (rows, {config.sizes[0]})")
    return x if x.dtype.kind == "f" or x.itemsize < 8 else x.astype(np.float64)


def looked_at_y(config: Config, caller: str, y: Array, rows: int) -> Array:
    """y as the loss takes it: labels (rows,) of integers, or numbers (rows, sizes[-1])."""
    outputs = config.sizes[-1]
    if rows == 0:
        raise ValueError(f"{caller}: x has no rows; a mean loss needs 1 or more")
    if config.loss == "softmax_cross_entropy":
        return losses.check_labels(caller, y, rows, outputs, "x")
    y = losses.as_float(caller, "y", y)
    if y.ndim == 1 and outputs == 1:
        y = y[:, None]
    losses.check_targets(caller, "the output", (rows, outputs), y, "y")
    if config.loss != "mse" and not (y.min() >= 0 and y.max() <= 1):
        losses.check_probabilities(caller, "y", y)
    return y


def checked_x(config: Config, caller: str, x: Array) -> Array:
    """x (N, sizes[0]) of the model's dtype."""
    x = looked_at_x(config, caller, x)
    with np.errstate(over="ignore"):
        return x.astype(config.dtype, copy=False)


def checked_y(config: Config, caller: str, y: Array, rows: int) -> Array:
    """y: labels as they are, or (rows, sizes[-1]) of the model's dtype."""
    y = looked_at_y(config, caller, y, rows)
    return y if y.ndim == 1 else y.astype(config.dtype, copy=False)


class Batches:
    """x (N, K) and y (N, ...), contiguous, in pieces of ``rows``; the pieces are reused."""

    def __init__(self, x: Array, y: Array, rows: int):
        self.x, self.y, self.rows = x, y, rows
        self._x = np.empty((rows, *x.shape[1:]), x.dtype)
        self._y = np.empty((rows, *y.shape[1:]), y.dtype)

    def in_order(self, order: NDArray[np.int64]) -> Iterator[Pair]:
        # The methods cost a third of np.take; "raise" would copy through a buffer.
        take_x, take_y = self.x.take, self.y.take
        for start in range(0, len(order), self.rows):
            part = order[start : start + self.rows]
            bx, by = self._x, self._y
            if len(part) < self.rows:
                bx, by = bx[: len(part)], by[: len(part)]
            take_x(part, 0, bx, "clip")
            take_y(part, 0, by, "clip")
            yield bx, by

    def as_they_are(self) -> Iterator[Pair]:
        for start in range(0, len(self.x), self.rows):
            yield self.x[start : start + self.rows], self.y[start : start + self.rows]

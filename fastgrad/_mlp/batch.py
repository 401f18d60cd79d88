"""Rows of a call: a user's x in, a checked array out; and an epoch's data in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops import checks
from .config import Config

Array = NDArray[Any]
Rows = range | NDArray[np.int64]  # numbers of rows; a range has steps of 1


def looked_at_x(config: Config, caller: str, x: Array) -> Array:
    """x (N, sizes[0]) of any dtype; 64-bit integers, which numpy promotes to float64, as that."""
    x = np.asarray(checks.array(caller, "x", x))  # a memmap as the array that it is
    if x.ndim != 2 or x.shape[1] != config.sizes[0]:
        raise ValueError(f"{caller}: x has shape {x.shape}; pass (rows, {config.sizes[0]})")
    return x if x.dtype.kind == "f" or x.itemsize < 8 else x.astype(np.float64)


def checked_x(config: Config, caller: str, x: Array) -> Array:
    """x (N, sizes[0]) of the model's dtype."""
    x = looked_at_x(config, caller, x)
    with np.errstate(all="ignore"):
        return x.astype(config.dtype, copy=False)


class Batches:
    """Arrays of N rows, contiguous, in pieces of up to ``rows``; the pieces are reused."""

    def __init__(self, arrays: tuple[Array, ...], rows: int):
        self.arrays, self.rows = arrays, rows
        self._pieces = [np.empty((rows, *a.shape[1:]), a.dtype) for a in arrays]
        # The methods cost a third of np.take; "raise" would copy through a buffer.
        self._takes = [a.take for a in arrays]

    def take(self, which: Rows) -> list[Array]:
        """These rows of every array: views of a range."""
        if type(which) is range:
            return [a[which.start : which.stop] for a in self.arrays]
        pieces = self._pieces
        if len(which) < self.rows:
            pieces = [piece[: len(which)] for piece in pieces]
        for take, piece in zip(self._takes, pieces, strict=True):
            take(which, 0, piece, "clip")
        return pieces


def parts(order: Rows, rows: int) -> Iterator[Rows]:
    """So many at a time, the last time fewer where they do not divide."""
    for start in range(0, len(order), rows):
        yield order[start : start + rows]

"""Views of arrays as matrices without copying, and a bounded gather where there is no such view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen.target import KC

Array = NDArray[Any]

# What a gather may hold of one operand: this many bytes, or KC rows where they are more.
GATHER_BYTES = 4 << 20


def collapses(a: Array) -> bool:
    """Whether all dimensions but the last step through memory as one."""
    if a.ndim <= 2 or a.size == 0:
        return True
    step: int | None = None
    for n, stride in zip(reversed(a.shape[:-1]), reversed(a.strides[:-1]), strict=True):
        if n == 1:
            continue
        if step is not None and stride != step:
            return False
        step = stride * n
    return True


def collapsed(a: Array) -> Array:
    """``a``, or a copy where it does not collapse and one gather holds it: then one call does."""
    return a if a.nbytes > GATHER_BYTES or collapses(a) else a.copy("C")


def as_rows(a: Array) -> Array:
    """(..., columns) -> (rows, columns), for an array that collapses: a view."""
    if a.ndim == 2:
        return a
    return a.reshape(rows_of(a), a.shape[-1])


def rows_of(a: Array) -> int:
    rows = 1
    for n in a.shape[:-1]:
        rows *= n
    return rows


def row_blocks(rows: int, dtype: np.dtype[Any], *widths: int) -> Iterator[slice]:
    """Slices of rows whose gathered blocks are bounded; multiples of KC, as the contract needs.

    One empty slice where there are no rows: sums over them are still to be written.
    """
    kc = KC[dtype.name]
    height = max(1, GATHER_BYTES // (max(1, *widths) * dtype.itemsize) // kc) * kc
    for start in range(0, max(rows, 1), height):
        yield slice(start, min(rows, start + height))


def gather(a: Array, block: slice) -> Array:
    """Rows ``block`` of (..., columns) as a new (rows, columns) array."""
    return np.array(a[None] if a.ndim == 1 else a[_index(a, block)], order="C")


def scatter(a: Array, block: slice, values: Array) -> None:
    """Write rows ``block`` of (..., columns)."""
    a[_index(a, block)] = values[0] if a.ndim == 1 else values


def _index(a: Array, block: slice) -> tuple[Any, ...]:
    if a.ndim == 1:
        return (slice(None),)
    if a.ndim == 2:
        return (block,)
    return np.unravel_index(np.arange(block.start, block.stop), a.shape[:-1])


def has_unit_stride(a: Array) -> bool:
    """Whether a matrix's rows lie in memory without gaps between elements."""
    return a.strides[1] == a.itemsize or a.shape[1] <= 1 or a.shape[0] == 0


def is_writable_matrix(a: Array) -> bool:
    """Whether a kernel can write a product here: unit stride along columns or along rows."""
    return has_unit_stride(a) or a.strides[0] == a.itemsize or a.shape[0] <= 1

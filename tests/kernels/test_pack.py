"""The copy that packs: every kind of stride, every edge of a vector, and nothing beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad._kernels.gemm.args import Copy
from fastgrad._kernels.gemm.packing import copy
from fastgrad._kernels.runtime.table import OK
from fastgrad._ops import kernel_call
from support import edges
from support.layouts import Placed, place
from support.oracles import Array, assert_same_bits

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)

# The three loops of packing.py, chosen by which stride is one element, and odd ones of each.
SOURCES: dict[str, dict[str, Any]] = {
    "unit along columns": {},
    "unit along columns, padded": {"pad": 3},
    "unit along columns, rows reversed": {"reverse": (0,)},
    "unit along columns, off alignment": {"shift": 1},
    "unit along rows": {"order": (1, 0)},
    "unit along rows, padded": {"order": (1, 0), "pad": 5},
    "unit along rows, columns reversed": {"order": (1, 0), "reverse": (1,)},
    "unit along rows, off alignment": {"order": (1, 0), "shift": 3},
    "no unit": {"steps": (2, 3)},
    "no unit, both reversed": {"steps": (1, 2), "reverse": (0, 1)},
    "columns reversed": {"reverse": (1,)},
    "no unit, off alignment": {"steps": (2, 2), "shift": 5},
}


def _copy(source: Array, to: Array) -> None:
    args = Copy(*source.shape, kernel_call.matrix(source), kernel_call.rows(to))
    assert kernel_call.run(copy, source.dtype, args) == OK


def _check(values: Array, keywords: dict[str, Any], pad: int) -> None:
    source = place(values, **keywords)
    before = source.memory.copy()
    to: Placed = place(np.zeros_like(values), pad=pad)
    _copy(source.array, to.array)
    assert_same_bits(to.array, values, f"{values.shape} {keywords}")
    assert to.intact(), f"{values.shape} {keywords}: written beyond the target"
    assert (source.memory == before).all(), f"{values.shape} {keywords}: the source was written"


@pytest.mark.parametrize("source", SOURCES)
@by_dtype
def test_copy(dtype: str, source: str, rng: np.random.Generator) -> None:
    lanes = edges.lanes(dtype)
    sizes = edges.around(1, lanes // 2, lanes, 2 * lanes)
    for rows in sizes:
        for columns in sizes:
            values = rng.standard_normal((rows, columns)).astype(dtype)
            _check(values, SOURCES[source], pad=rows % 3)


@by_dtype
def test_copy_of_nothing(dtype: str) -> None:
    for shape in ((0, 5), (5, 0), (0, 0)):
        for keywords in SOURCES.values():
            _check(np.zeros(shape, dtype), keywords, pad=1)


@by_dtype
def test_copy_repeats_zero_strides(dtype: str, rng: np.random.Generator) -> None:
    lanes = edges.lanes(dtype)
    values = rng.standard_normal(lanes + 1).astype(dtype)
    for wide in (
        np.broadcast_to(values, (lanes + 2, lanes + 1)),
        np.broadcast_to(values[:, None], (lanes + 1, lanes + 2)),
        np.broadcast_to(values[0], (3, lanes + 2)),
    ):
        to = place(np.zeros(wide.shape, dtype))
        _copy(wide, to.array)
        assert_same_bits(to.array, np.array(wide))
        assert to.intact()


@by_dtype
def test_copy_moves_every_pattern(dtype: str, rng: np.random.Generator) -> None:
    """NaN payloads, infinities, subnormals and -0.0 go through the transposes bit for bit."""
    lanes = edges.lanes(dtype)
    kind = np.dtype(f"u{edges.itemsize(dtype)}")
    top = int(np.finfo(dtype).max.view(kind))
    values = np.frombuffer(rng.bytes((lanes + 1) * (lanes + 3) * kind.itemsize), kind).copy()
    values[:4] = [top + 1, top + 2, 1, 1 << (8 * kind.itemsize - 1)]
    values = values.reshape(lanes + 1, lanes + 3)
    for keywords in SOURCES.values():
        source, to = place(values.view(dtype), **keywords), place(np.zeros(values.shape, dtype))
        _copy(source.array, to.array)
        assert (to.array.view(kind) == values).all(), keywords

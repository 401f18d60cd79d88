"""What Python calls: arrays in, descriptor out, one call through the table. Built when first used.

Any strides, alignment and read-only inputs are one numba type here, so that each entry is compiled
once a dtype. Each checks what the kernels rely on (shapes, strides of outputs, no overlap) and
returns SLOW, with nothing written, where they do not hold: the public functions then take their
careful way, which finds the message or the temporary that is called for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from .backward import BACKWARD_KERNEL
from .gemm import GEMM
from .jit import entry, slot, stamp
from .lowlevel import apart, call_kernel, data_address, has_dense_columns, has_dense_rows, span

SLOW = 4  # a status beside those of jit.py


class PerDtype(dict):  # type: ignore[type-arg]
    """np.dtype -> entry, built on the first look-up; KeyError for what is not computed in."""

    def __init__(self, build: Callable[[str], Any]) -> None:
        self.build = build

    def __missing__(self, dtype: np.dtype[Any]) -> Any:
        if dtype not in (np.float32, np.float64) or not dtype.isnative:
            raise KeyError(dtype)
        self[dtype] = made = self.build(dtype.name)
        return made


def _array(dtype: str, ndim: int, readonly: bool = False) -> types.Array:
    return types.Array(getattr(types, dtype), ndim, "A", readonly=readonly, aligned=False)


def _product(dtype: str) -> Any:
    """c (m, n) = or += a (m, k) . b (k, n) -> status"""
    version, number = stamp(), slot(GEMM, dtype)
    inputs, output = _array(dtype, 2, True), _array(dtype, 2)

    @entry(types.intp(output, inputs, inputs, types.boolean))
    def product_entry(c, a, b, accumulate):  # type: ignore[no-untyped-def]
        _ = version
        m, n, k = c.shape[0], c.shape[1], a.shape[1]
        to = span(c)
        if (
            a.shape[0] != m
            or b.shape[0] != k
            or b.shape[1] != n
            or not (has_dense_rows(c) or has_dense_columns(c))
            or not apart(to, span(a))
            or not apart(to, span(b))
        ):
            return SLOW
        return call_kernel(number, (
            m, n, k,
            data_address(a), a.strides[0], a.strides[1],
            data_address(b), b.strides[0], b.strides[1],
            data_address(c), c.strides[0], c.strides[1],
            0, 0, 0, 0, 1 if accumulate else 0, 0,
        ))  # fmt: skip

    return product_entry


def _product_stack(dtype: str) -> Any:
    """c (s, m, n) = or += a (s, m, k) . b (s, k, n), matrix by matrix -> status. Checked before."""
    version, number = stamp(), slot(GEMM, dtype)
    inputs, output = _array(dtype, 3, True), _array(dtype, 3)

    @entry(types.intp(output, inputs, inputs, types.boolean))
    def product_stack_entry(c, a, b, accumulate):  # type: ignore[no-untyped-def]
        _ = version
        status = 0
        for i in range(c.shape[0]):
            status |= call_kernel(number, (
                c.shape[1], c.shape[2], a.shape[2],
                data_address(a) + i * a.strides[0], a.strides[1], a.strides[2],
                data_address(b) + i * b.strides[0], b.strides[1], b.strides[2],
                data_address(c) + i * c.strides[0], c.strides[1], c.strides[2],
                0, 0, 0, 0, 1 if accumulate else 0, 0,
            ))  # fmt: skip
        return status

    return product_stack_entry


def _forward(dtype: str) -> Any:
    """y (n, m) = act(z), z (n, m) = x (n, k) . w (k, m) + bias (m,) -> status

    bias: unit stride; z and bias with ``has_z`` and ``has_bias`` false are placeholders.
    """
    version, number = stamp(), slot(GEMM, dtype)
    inputs, vector, output = _array(dtype, 2, True), _array(dtype, 1, True), _array(dtype, 2)
    flag = types.boolean

    @entry(types.intp(output, inputs, inputs, vector, flag, output, flag, types.intp))
    def forward_entry(y, x, w, bias, has_bias, z, has_z, activation):  # type: ignore[no-untyped-def]
        _ = version
        n, m, k = y.shape[0], y.shape[1], x.shape[1]
        if x.shape[0] != n or w.shape[0] != k or w.shape[1] != m:
            return SLOW
        to, from_x, from_w = span(y), span(x), span(w)
        if not has_dense_rows(y) or not apart(to, from_x) or not apart(to, from_w):
            return SLOW
        row, pre, pre_row = 0, 0, 0
        if has_bias:
            row = data_address(bias)
            from_bias = (row, row + bias.size * bias.itemsize)
            if bias.shape[0] != m or (m > 1 and bias.strides[0] != bias.itemsize):
                return SLOW
            if not apart(to, from_bias) or (has_z and not apart(span(z), from_bias)):
                return SLOW
        if has_z:
            pre, pre_row = data_address(z), z.strides[0]
            to_z = span(z)
            if z.shape[0] != n or z.shape[1] != m or not has_dense_rows(z):
                return SLOW
            if not apart(to, to_z) or not apart(to_z, from_x) or not apart(to_z, from_w):
                return SLOW
        return call_kernel(number, (
            n, m, k,
            data_address(x), x.strides[0], x.strides[1],
            data_address(w), w.strides[0], w.strides[1],
            data_address(y), y.strides[0], y.strides[1],
            pre, pre_row, row, activation, 0, 0,
        ))  # fmt: skip

    return forward_entry


def _backward(dtype: str) -> Any:
    """dx (n, k), dw (k, m), db (m,) = or += the backward of forward -> status

    g (n, m), x (n, k), w (k, m); saved (n, m): output or pre-activation, or g where there is no
    activation. needs and accumulate: bits 1, 2, 4 for dx, dw, db, which are placeholders where
    they are not needed.
    """
    version, number = stamp(), slot(BACKWARD_KERNEL, dtype)
    inputs, output, vector = _array(dtype, 2, True), _array(dtype, 2), _array(dtype, 1)
    whole = types.intp

    @entry(whole(inputs, inputs, inputs, inputs, output, output, vector, whole, whole, whole))
    def backward_entry(g, x, w, saved, dx, dw, db, activation, needs, accumulate):  # type: ignore[no-untyped-def]
        _ = version
        n, k, m = x.shape[0], x.shape[1], w.shape[1]
        if g.shape[0] != n or g.shape[1] != m or w.shape[0] != k or saved.shape != g.shape:
            return SLOW
        to_x = to_w = to_b = (0, 0)
        if needs & 1:
            to_x = span(dx)
            if (
                dx.shape[0] != n
                or dx.shape[1] != k
                or not (has_dense_rows(dx) or has_dense_columns(dx))
            ):
                return SLOW
        if needs & 2:
            to_w = span(dw)
            if (
                dw.shape[0] != k
                or dw.shape[1] != m
                or not (has_dense_rows(dw) or has_dense_columns(dw))
            ):
                return SLOW
        if needs & 4:
            start = data_address(db)
            to_b = (start, start + db.size * db.itemsize)
            if db.shape[0] != m or (m > 1 and db.strides[0] != db.itemsize):
                return SLOW
        if not apart(to_x, to_w) or not apart(to_x, to_b) or not apart(to_w, to_b):
            return SLOW
        for given in (span(g), span(x), span(w), span(saved)):
            if not apart(to_x, given) or not apart(to_w, given) or not apart(to_b, given):
                return SLOW
        return call_kernel(number, (
            n, k, m,
            data_address(g), g.strides[0], g.strides[1],
            data_address(x), x.strides[0], x.strides[1],
            data_address(w), w.strides[0], w.strides[1],
            data_address(saved), saved.strides[0], saved.strides[1],
            data_address(dx) if needs & 1 else 0, dx.strides[0], dx.strides[1],
            data_address(dw) if needs & 2 else 0, dw.strides[0], dw.strides[1],
            data_address(db) if needs & 4 else 0,
            activation, accumulate & 1, accumulate & 2, accumulate & 4,
        ))  # fmt: skip

    return backward_entry


def _unary(dtype: str) -> Any:
    """y (n,) = the formula in ``slot`` of x (n,), both of unit stride -> status"""
    version = stamp()

    @entry(types.intp(_array(dtype, 1), _array(dtype, 1, True), types.intp))
    def unary_entry(y, x, number):  # type: ignore[no-untyped-def]
        _ = version
        return call_kernel(number, (1, x.size, data_address(x), 0, data_address(y), 0))

    return unary_entry


PRODUCT, PRODUCT_STACK = PerDtype(_product), PerDtype(_product_stack)
FORWARD, BACKWARD, UNARY = PerDtype(_forward), PerDtype(_backward), PerDtype(_unary)
ENTRIES = (PRODUCT, PRODUCT_STACK, FORWARD, BACKWARD, UNARY)

"""What Python calls: arrays in, descriptor out, one call through the table. Built when first used.

Arrays come 2-D (bias 1-D) and checked; any strides, alignment and read-only inputs are one numba
type here, so that each entry is compiled once a dtype.
"""

from __future__ import annotations

import functools
from typing import Any

from numba import types

from .backward import BACKWARD_KERNEL
from .gemm import GEMM
from .jit import entry, slot, stamp
from .lowlevel import call_kernel, data_address


def _array(dtype: str, ndim: int, readonly: bool = False) -> types.Array:
    return types.Array(getattr(types, dtype), ndim, "A", readonly=readonly, aligned=False)


@functools.cache
def product(dtype: str) -> Any:
    """c (m, n) = or += a (m, k) . b (k, n) -> status"""
    version, number = stamp(), slot(GEMM, dtype)
    inputs, output = _array(dtype, 2, True), _array(dtype, 2)

    @entry(types.intp(output, inputs, inputs, types.boolean))
    def product_entry(c, a, b, accumulate):  # type: ignore[no-untyped-def]
        _ = version
        return call_kernel(number, (
            c.shape[0], c.shape[1], a.shape[1],
            data_address(a), a.strides[0], a.strides[1],
            data_address(b), b.strides[0], b.strides[1],
            data_address(c), c.strides[0], c.strides[1],
            0, 0, 0, 0, 1 if accumulate else 0,
        ))  # fmt: skip

    return product_entry


@functools.cache
def product_stack(dtype: str) -> Any:
    """c (s, m, n) = or += a (s, m, k) . b (s, k, n), matrix by matrix -> status"""
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
                0, 0, 0, 0, 1 if accumulate else 0,
            ))  # fmt: skip
        return status

    return product_stack_entry


@functools.cache
def forward(dtype: str) -> Any:
    """y (n, m) = act(z), z (n, m) = x (n, k) . w (k, m) + bias (m,) -> status

    bias and z of size 0: none. y and z have unit stride along columns, bias too.
    """
    version, number = stamp(), slot(GEMM, dtype)
    inputs, vector, output = _array(dtype, 2, True), _array(dtype, 1, True), _array(dtype, 2)

    @entry(types.intp(output, inputs, inputs, vector, output, types.intp))
    def forward_entry(y, x, w, bias, z, activation):  # type: ignore[no-untyped-def]
        _ = version
        return call_kernel(number, (
            y.shape[0], y.shape[1], x.shape[1],
            data_address(x), x.strides[0], x.strides[1],
            data_address(w), w.strides[0], w.strides[1],
            data_address(y), y.strides[0], y.strides[1],
            data_address(z) if z.size > 0 else 0, z.strides[0],
            data_address(bias) if bias.size > 0 else 0, activation, 0,
        ))  # fmt: skip

    return forward_entry


@functools.cache
def backward(dtype: str) -> Any:
    """dx, dw, db = or += the backward of forward() -> status

    needs and accumulate: bits 1, 2, 4 for dx, dw, db. saved: output or pre-activation, any shape
    where there is no activation. db has unit stride.
    """
    version, number = stamp(), slot(BACKWARD_KERNEL, dtype)
    inputs, output, vector = _array(dtype, 2, True), _array(dtype, 2), _array(dtype, 1)

    @entry(
        types.intp(inputs, inputs, inputs, inputs, output, output, vector, *[types.intp] * 3)
    )
    def backward_entry(g, x, w, saved, dx, dw, db, activation, needs, accumulate):  # type: ignore[no-untyped-def]
        _ = version
        return call_kernel(number, (
            g.shape[0], w.shape[0], g.shape[1],
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


@functools.cache
def unary(dtype: str) -> Any:
    """y (n,) = the formula in ``slot`` of x (n,), both of unit stride -> status"""
    version = stamp()

    @entry(types.intp(_array(dtype, 1), _array(dtype, 1, True), types.intp))
    def unary_entry(y, x, number):  # type: ignore[no-untyped-def]
        _ = version
        return call_kernel(number, (1, x.size, data_address(x), 0, data_address(y), 0))

    return unary_entry


ENTRIES = (product, product_stack, forward, backward, unary)

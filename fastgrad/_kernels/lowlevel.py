"""Intrinsics that kernels are written with: words of memory, addresses, calls by the table.

An address is an ``intp``. Kernels never see an array: no bounds, no reference counts, no GIL.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import I64, i64

TABLE_SYMBOL = "fastgrad_table"


def word_pointer(b: ir.IRBuilder, address: ir.Value, index: ir.Value | None = None) -> ir.Value:
    if index is not None:
        address = b.add(address, b.mul(index, i64(8)))
    return b.inttoptr(address, I64.as_pointer())


@intrinsic
def word(typing_context: Any, address: Any, index: Any) -> Any:
    """The ``index``-th 64-bit word at ``address``."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.load(word_pointer(b, *args))

    return types.intp(types.intp, types.intp), codegen


def table_address(b: ir.IRBuilder) -> ir.Value:
    """The table behind the one external symbol, resolved when the code is loaded."""
    table = b.module.globals.get(TABLE_SYMBOL)
    if table is None:
        table = ir.GlobalVariable(b.module, I64, TABLE_SYMBOL)
        table.linkage = "external"
    return b.ptrtoint(table, I64)


@intrinsic
def table(typing_context: Any) -> Any:
    """Address of the table."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return table_address(b)

    return types.intp(), codegen


@intrinsic
def in_memory(typing_context: Any, words: Any) -> Any:
    """Address of ``words`` on the stack, for as long as the kernel runs; anew for each call."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _store_words(b, cgutils.unpack_tuple(b, args[0]))

    if not isinstance(words, types.UniTuple):
        return None
    return types.intp(types.UniTuple(types.intp, len(words))), codegen


def _store_words(b: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
    base = b.ptrtoint(cgutils.alloca_once(b, ir.ArrayType(I64, len(values))), I64)
    for i, value in enumerate(values):
        b.store(value, word_pointer(b, base, i64(i)))
    return base


def emit_call(b: ir.IRBuilder, slot: ir.Value, words: list[ir.Value]) -> ir.Value:
    """The status of the kernel in ``slot`` of the table, called with a descriptor of ``words``."""
    entry = b.load(word_pointer(b, table_address(b), slot))
    kind = ir.FunctionType(I64, [I64])
    return b.call(b.inttoptr(entry, kind.as_pointer()), [_store_words(b, words)])


@intrinsic
def call_kernel(typing_context: Any, slot: Any, words: Any) -> Any:
    """Call the kernel in ``slot`` of the table with a descriptor made of ``words``; its status."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return emit_call(b, args[0], cgutils.unpack_tuple(b, args[1]))

    if not isinstance(words, types.UniTuple):
        return None
    return types.intp(types.intp, types.UniTuple(types.intp, len(words))), codegen


@intrinsic
def data_address(typing_context: Any, array: Any) -> Any:
    """Address of an array's first element."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        made = context.make_array(signature.args[0])(context, b, args[0])
        return b.ptrtoint(made.data, I64)

    return types.intp(array), codegen


@intrinsic
def span(typing_context: Any, array: Any) -> Any:
    """(first byte, one past the last byte) that an array touches; equal if it has no element."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        made = context.make_array(signature.args[0])(context, b, args[0])
        low = high = b.ptrtoint(made.data, I64)
        empty = b.icmp_signed("!=", i64(0), i64(0))
        for n, stride in _dimensions(b, made):
            reach = b.mul(b.sub(n, i64(1)), stride)
            backward = b.icmp_signed("<", reach, i64(0))
            low = b.add(low, b.select(backward, reach, i64(0)))
            high = b.add(high, b.select(backward, i64(0), reach))
            empty = b.or_(empty, b.icmp_signed("==", n, i64(0)))
        high = b.select(empty, low, b.add(high, made.itemsize))
        return context.make_tuple(b, signature.return_type, [low, high])

    return types.UniTuple(types.intp, 2)(array), codegen


@intrinsic
def apart(typing_context: Any, one: Any, other: Any) -> Any:
    """Whether two spans have no byte in common."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        (low, high), (start, end) = (cgutils.unpack_tuple(b, a) for a in args)
        orders = (("<=", high, start), ("<=", end, low), ("==", low, high), ("==", start, end))
        return functools.reduce(b.or_, [b.icmp_signed(*order) for order in orders])

    pair = types.UniTuple(types.intp, 2)
    return types.boolean(pair, pair), codegen


def _dense(along: int) -> Any:
    """An intrinsic: whether a matrix has unit stride along one axis and no overlap of the lines."""

    def dense(typing_context: Any, matrix: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            made = context.make_array(signature.args[0])(context, b, args[0])
            dimensions = _dimensions(b, made)
            (length, step), (lines, pitch) = dimensions[along], dimensions[1 - along]
            unit = b.or_(
                b.icmp_signed("<=", length, i64(1)), b.icmp_signed("==", step, made.itemsize)
            )
            unit = b.or_(unit, b.icmp_signed("==", lines, i64(0)))
            pitch = b.select(b.icmp_signed("<", pitch, i64(0)), b.neg(pitch), pitch)
            clear = b.or_(
                b.icmp_signed("<=", lines, i64(1)),
                b.icmp_signed(">=", pitch, b.mul(length, made.itemsize)),
            )
            return b.and_(unit, clear)

        return types.boolean(matrix), codegen

    return intrinsic(dense)


has_dense_rows, has_dense_columns = _dense(1), _dense(0)


def _dimensions(b: ir.IRBuilder, made: Any) -> list[tuple[ir.Value, ir.Value]]:
    """(length, stride in bytes) of each dimension."""
    shape, strides = cgutils.unpack_tuple(b, made.shape), cgutils.unpack_tuple(b, made.strides)
    return list(zip(shape, strides, strict=True))

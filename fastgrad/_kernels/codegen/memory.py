"""Intrinsics that kernels are written with: words of memory, addresses, calls by the table.

An address is an ``intp``. Kernels never see an array: no bounds, no reference counts, no GIL.
"""

from __future__ import annotations

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

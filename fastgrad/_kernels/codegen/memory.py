"""Words of memory, the table behind the one external symbol, and calls by it.

An address is an ``intp``. Kernels never see an array: no bounds, no reference counts, no GIL.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import I64, i64
from .structs import stored

TABLE_SYMBOL = "fastgrad_table"


def word_pointer(b: ir.IRBuilder, address: ir.Value, index: ir.Value | None = None) -> ir.Value:
    if index is not None:
        address = b.add(address, b.mul(index, i64(8)))
    return b.inttoptr(address, I64.as_pointer())


@intrinsic
def word(typing_context: Any, address: Any, index: Any) -> Any:
    """The ``index``-th of the 64-bit words at ``address``."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.load(word_pointer(b, *args))

    return types.intp(types.intp, types.intp), codegen


def table_address(b: ir.IRBuilder) -> ir.Value:
    """Resolved when the code is loaded, so that machine code can be kept on disk."""
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


def emit_call(b: ir.IRBuilder, slot: ir.Value, words: list[ir.Value]) -> ir.Value:
    """The status of the kernel in ``slot`` of the table, called with a struct of ``words``."""
    return call_at(b, slot, stored(b, words))


def call_at(b: ir.IRBuilder, slot: ir.Value, address: ir.Value) -> ir.Value:
    """Likewise, with a struct in memory."""
    function = b.load(word_pointer(b, table_address(b), slot))
    kind = ir.FunctionType(I64, [I64])
    return b.call(b.inttoptr(function, kind.as_pointer()), [address])

"""Intrinsics that kernels are written with: words of memory, addresses of arrays, calls through the table.

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
def call_kernel(typing_context: Any, slot: Any, words: Any) -> Any:
    """Call the kernel in ``slot`` of the table with a descriptor made of ``words``; its status."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        slot, values = args
        count = len(signature.args[1])
        descriptor = cgutils.alloca_once(b, ir.ArrayType(I64, count))
        base = b.ptrtoint(descriptor, I64)
        for i in range(count):
            b.store(b.extract_value(values, i), word_pointer(b, base, i64(i)))
        entry = b.load(word_pointer(b, table_address(b), slot))
        kind = ir.FunctionType(I64, [I64])
        return b.call(b.inttoptr(entry, kind.as_pointer()), [base])

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

"""A row times a column: blocks of KC are chains of their own, so a vector's lanes hold that many.

One chain would wait four cycles for each of its steps. Both operands are transposed in registers,
lanes blocks x lanes steps at a time, and the blocks' sums are added in order at the end.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.integers import ceil_div, least, pick, quotient
from ..codegen.memory import call_kernel, in_memory, word
from ..codegen.simd import I64, Simd, Value, for_range, i64, new_function
from ..codegen.target import KC, current
from ..runtime.jit import OK, OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from .macrokernel import BLOCK, IN_PLACE
from .packing import load_transposed
from .reduce import FOLD


@intrinsic(prefer_literal=True)
def block_dots(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """out[i] = the chain of block i, for as many blocks as a vector has lanes or fewer.

    (blocks, a, b, bytes of a block, out); a and b have unit stride.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = _emit(b.module, signature.args[0].literal_value)
        b.call(function, cgutils.unpack_tuple(b, args[1]))
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, 5)), codegen


def _emit(module: ir.Module, itemsize: int) -> ir.Function:
    isa = current().isa
    name = f"fastgrad_block_dots_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 5)
    blocks, *operands, block_bytes, out = function.args
    lanes = isa.lanes(itemsize)
    ops = Simd(b, itemsize, lanes, isa.fma)
    starts = [[b.alloca(I64) for _ in range(lanes)] for _ in operands]
    last = b.sub(blocks, i64(1))
    for first, places in zip(operands, starts, strict=True):
        for i, place in enumerate(places):
            # a block past the end is the last one again: its sum is not stored
            block = b.select(b.icmp_signed("<", i64(i), last), i64(i), last)
            b.store(b.add(first, b.mul(block, block_bytes)), place)
    sums = b.alloca(ops.float)
    b.store(ops.constant(0.0).ir, sums)
    with for_range(b, block_bytes, ops.bytes) as along:
        x, y = (
            load_transposed(ops, [b.add(b.load(p), along) for p in places]) for places in starts
        )
        chain = Value(ops, b.load(sums))
        for left, right in zip(x, y, strict=True):
            chain = ops.fma(left, right, chain)
        b.store(chain.ir, sums)
    ops.store(Value(ops, b.load(sums)), out, 0, ops.first(blocks))
    b.ret_void()
    return function


def dot(dtype: str) -> Any:
    """A kernel of the form of gemm.py: m = n = 1, a and b of unit stride along k, no epilogue."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    kc, lanes = KC[dtype], current().isa.lanes(size)
    block, fold = slot(BLOCK, dtype), slot(FOLD, dtype)
    header, room = HEADER, (ARENA_BYTES - HEADER) // size // lanes * lanes

    def kernel_dot(d):  # type: ignore[no-untyped-def]
        _ = version
        k, a, b, to = word(d, 2), word(d, 3), word(d, 6), word(d, 9)
        scratch = acquire()
        if scratch == 0:
            return OUT_OF_MEMORY
        sums, add, status = scratch + header, word(d, 11), OK
        for k0 in range(0, k, room * kc):
            some = least(room * kc, k - k0)
            whole = quotient(some, kc)
            for i in range(0, whole, lanes):
                at = (k0 + i * kc) * size
                count = least(lanes, whole - i)
                block_dots(size, (count, a + at, b + at, kc * size, sums + i * size))
            rest = some - whole * kc
            if rest > 0:
                at = (k0 + whole * kc) * size
                plan = in_memory((
                    1, 1, rest, a + at, size, size, b + at, size, size,
                    sums + whole * size, size, 0, 0, 0, 0, 0, 0, 0, IN_PLACE,
                    1, 1, 1, 1, rest, lanes, 1,
                ))  # fmt: skip
                status |= call_kernel(block, (plan, 0))
            count = ceil_div(some, kc)
            status |= call_kernel(fold, (1, 1, count, sums, size, to, size, pick(k0, 1, add)))
        release(scratch)
        return status

    return kernel_dot


DOT = register("dot", dot)

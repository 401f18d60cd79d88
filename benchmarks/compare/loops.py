"""Three compiled loops that bound what a kernel can do: FMAs on registers, vector reads, fills.

Emitted with the same Simd as the kernels, for the same target; compiled anew in each process, so
that their assembly is at hand. They release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgrad._kernels.codegen.simd import I64, Simd, Value, for_range, i64, keep_rolled
from fastgrad._kernels.codegen.target import current

ITEMSIZE = {"float32": 4, "float64": 8}
# Two pipes of latency 4 want 8 chains. More hide whatever else delays one, and all must fit the
# registers with the two operands: 32 of 64 bytes (and of NEON's 16), 16 of 32.
CHAINS = 12 if current().isa.vector_bytes == 32 else 24
STREAMS = 8  # vectors a turn of the read and fill loops


def _simd(builder: ir.IRBuilder, dtype: str) -> Simd:
    isa, itemsize = current().isa, ITEMSIZE[dtype]
    return Simd(builder, itemsize, isa.lanes(itemsize), isa.fma)


def _total(ops: Simd, values: list[Value]) -> ir.Value:
    """The first lane of the sum, as a double: something that depends on all."""
    total = sum(values[1:], start=values[0])
    lane = ops.builder.extract_element(total.ir, ir.Constant(ir.IntType(32), 0))
    return ops.builder.fpext(lane, ir.DoubleType()) if ops.itemsize == 4 else lane


@cache
def fma_loop(dtype: str) -> Callable[[int, Any], float]:
    """f(turns, two numbers of the dtype): CHAINS multiply-adds a turn, every lane at work."""

    @intrinsic
    def emit(context: Any, turns: Any, numbers: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            ops = _simd(b, dtype)
            x, y = (ops.broadcast(_address(context, b, signature, args), o * ops.itemsize)
                    for o in (0, 1))  # fmt: skip
            before = b.block
            loop, after = b.append_basic_block("loop"), b.append_basic_block("after")
            b.branch(loop)
            b.position_at_end(loop)
            left = b.phi(I64)
            left.add_incoming(args[0], before)
            chains = [b.phi(ops.float) for _ in range(CHAINS)]
            for i, chain in enumerate(chains):
                chain.add_incoming(ops.constant(float(i)).ir, before)
                chain.add_incoming(ops.fma(Value(ops, chain), x, y).ir, loop)
            following = b.sub(left, i64(1))
            left.add_incoming(following, loop)
            keep_rolled(b.cbranch(b.icmp_signed(">", following, i64(0)), loop, after))
            b.position_at_end(after)
            return _total(ops, [Value(ops, c.incomings[1][0]) for c in chains])

        return types.float64(types.intp, numbers), codegen

    return _compile(lambda turns, numbers: emit(turns, numbers), dtype)


def _address(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
    array = context.make_array(signature.args[1])(context, b, args[1])
    return b.ptrtoint(array.data, I64)


def _over_memory(dtype: str, turn: Callable[..., None]) -> Callable[[int, Any], float]:
    """f(passes, array): ``turn`` for each STREAMS vectors of the array, all of it, passes times.

    The array's bytes are a multiple of those of STREAMS vectors.
    """

    @intrinsic
    def emit(context: Any, passes: Any, array: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            ops = _simd(b, dtype)
            made = context.make_array(signature.args[1])(context, b, args[1])
            base = b.ptrtoint(made.data, I64)
            size = b.mul(made.nitems, i64(ops.itemsize))
            sums = [cgutils.alloca_once_value(b, ops.constant(0.0).ir) for _ in range(STREAMS)]
            with for_range(b, args[0]), for_range(b, size, STREAMS * ops.bytes) as offset:
                turn(ops, b.add(base, offset), sums)
            return _total(ops, [Value(ops, b.load(s)) for s in sums])

        return types.float64(types.intp, array), codegen

    return _compile(lambda passes, array: emit(passes, array), dtype)


@cache
def read_loop(dtype: str) -> Callable[[int, Any], float]:
    def turn(ops: Simd, address: ir.Value, sums: list[ir.Value]) -> None:
        for i, s in enumerate(sums):
            total = Value(ops, ops.builder.load(s)) + ops.load(address, i * ops.bytes)
            ops.builder.store(total.ir, s)

    return _over_memory(dtype, turn)


@cache
def fill_loop(dtype: str) -> Callable[[int, Any], float]:
    def turn(ops: Simd, address: ir.Value, sums: list[ir.Value]) -> None:
        for i in range(STREAMS):
            ops.store(ops.constant(1.0), address, i * ops.bytes)

    return _over_memory(dtype, turn)


def _compile(function: Callable[..., Any], dtype: str) -> Any:
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    return numba.njit(types.float64(types.intp, array), nogil=True)(function)

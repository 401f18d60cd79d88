"""A row times a column: blocks of KC are chains of their own, so a vector's lanes hold that many.

Assumptions: m = n = 1, A and B of unit stride along k, no epilogue. One chain would wait four
cycles for each of its steps. Both operands are transposed in registers, lanes blocks x lanes steps
at a time, and the blocks' sums are added in order at the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, vector_function
from ..codegen.integers import ceil_div, least, pick, quotient
from ..codegen.simd import I64, Simd, Value, at_most, for_range, i64
from ..codegen.structs import on_stack
from ..runtime.pool_kernels import run_task
from ..runtime.registry import Floats, kernel
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from .args import BlockPlan, Epilogue, Fold, Gemm, Matrix, Panels, Rows
from .macrokernel import macrokernel
from .packing import load_transposed
from .reduce import fold


class BlockDots(NamedTuple):
    """out[i] = the chain of block i, for as many blocks as a vector has lanes or fewer."""

    blocks: int
    a: int  # unit stride
    b: int  # unit stride
    step: int  # bytes of a block
    out: int


@vector_function(BlockDots)
def block_dots(ops: Simd, p: BlockDots) -> None:
    b = ops.builder
    starts = [[b.alloca(I64) for _ in range(ops.lanes)] for _ in (p.a, p.b)]
    last = b.sub(p.blocks, i64(1))
    for first, places in zip((p.a, p.b), starts, strict=True):
        for i, place in enumerate(places):
            # a block past the end is the last one again: its sum is not stored
            block = at_most(b, i64(i), last)
            b.store(b.add(first, b.mul(block, p.step)), place)
    sums = b.alloca(ops.float)
    b.store(ops.constant(0.0).ir, sums)
    with for_range(b, p.step, ops.bytes) as along:
        x, y = (
            load_transposed(ops, [b.add(b.load(place), along) for place in places])
            for places in starts
        )
        chain = Value(ops, b.load(sums))
        for left, right in zip(x, y, strict=True):
            chain = ops.fma(left, right, chain)
        b.store(chain.ir, sums)
    ops.store(Value(ops, b.load(sums)), p.out, 0, ops.first(p.blocks))


@kernel(Gemm)
def inner_product(t: Floats) -> Any:
    size, kc, lanes = t.size, t.kc, t.lanes
    block, add_up, dots = t[macrokernel], t[fold], t[block_dots]
    room = (ARENA_BYTES - HEADER) // size // lanes * lanes  # sums in an arena

    def body(p):  # type: ignore[no-untyped-def]
        k, a, b = p.k, p.a.data, p.b.data
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        sums, status = arena + HEADER, OK
        for k0 in range(0, k, room * kc):
            some = least(room * kc, k - k0)
            whole = quotient(some, kc)
            for i in range(0, whole, lanes):
                at = (k0 + i * kc) * size
                call(dots, BlockDots(blocks=least(lanes, whole - i), a=a + at, b=b + at,
                                     step=kc * size, out=sums + i * size))  # fmt: skip
            rest = some - whole * kc
            if rest > 0:
                at = (k0 + whole * kc) * size
                nothing = Rows(data=0, row=0)
                plan = on_stack(BlockPlan(
                    m=1, n=1, k=rest, a=Matrix(data=a + at, row=size, column=size),
                    b=Panels(data=b + at, row=size, panel=size),
                    to=Rows(data=sums + whole * size, row=size), to_chunk=0,
                    epilogue=Epilogue(accumulate=0, bias=0, relu=0, y=nothing, activation=0),
                    a_panels=0, copy=0, copy_step=0, copies=0,
                    rows=1, row_blocks=1, columns=1, column_groups=1,
                    depth=rest, width=lanes, row_plan=1,
                ))  # fmt: skip
                status |= run_task(block, plan, 0)
            status |= call(add_up, Fold(
                rows=1, columns=1, blocks=ceil_div(some, kc), first=sums, step=size, to=p.to,
                accumulate=pick(k0, 1, p.epilogue.accumulate),
            ))  # fmt: skip
        release(arena)
        return status

    return body

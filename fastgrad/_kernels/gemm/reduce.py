"""Sums in the contract's order: columns of a matrix, and blocks of k that lie side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, vector_function
from ..codegen.simd import Simd, Value, for_range, i64
from ..runtime.registry import Floats, kernel
from ..runtime.table import OK
from .args import Fold, Rows

_GROUP = 8  # vectors of columns at a time: enough chains to hide the latency of an addition


class ColumnSums(NamedTuple):
    """One block: out[c] = the chain over rows of h[r, c]."""

    rows: int
    columns: int
    h: Rows
    out: int  # unit stride


@vector_function(ColumnSums)
def column_sums(ops: Simd, p: ColumnSums) -> None:
    b = ops.builder
    # registers, once LLVM has promoted them
    sums = [b.alloca(ops.float) for _ in range(_GROUP)]
    with for_range(b, p.columns, _GROUP * ops.lanes) as c:
        offset = b.mul(c, i64(ops.itemsize))
        masks = [ops.lanes_left(b.sub(p.columns, c), g) for g in range(_GROUP)]
        for s in sums:
            b.store(ops.constant(0.0).ir, s)
        with for_range(b, p.rows) as r:
            here = b.add(b.add(p.h.data, offset), b.mul(r, p.h.row))
            for g, s in enumerate(sums):
                x = ops.load(here, g * ops.bytes, masks[g])
                b.store((Value(ops, b.load(s)) + x).ir, s)
        for g, s in enumerate(sums):
            ops.store(Value(ops, b.load(s)), b.add(p.out, offset), g * ops.bytes, masks[g])


class AddBlocks(NamedTuple):
    """A row of n: to = ((start + block 0) + block 1) + ..."""

    n: int
    start: int
    first: int  # block 0
    blocks: int
    step: int  # from one block to the next
    to: int


@vector_function(AddBlocks)
def add_blocks(ops: Simd, p: AddBlocks) -> None:
    b = ops.builder
    sums = b.alloca(ops.float)
    with for_range(b, p.n, ops.lanes) as i:
        offset = b.mul(i, i64(ops.itemsize))
        mask = ops.lanes_left(b.sub(p.n, i))
        b.store(ops.load(b.add(p.start, offset), 0, mask).ir, sums)
        with for_range(b, p.blocks) as block:
            x = ops.load(b.add(b.add(p.first, offset), b.mul(block, p.step)), 0, mask)
            b.store((Value(ops, b.load(sums)) + x).ir, sums)
        ops.store(Value(ops, b.load(sums)), b.add(p.to, offset), 0, mask)


@kernel(Fold)
def fold(t: Floats) -> Any:
    """to = or += blocks, each sum row by row."""
    size, add = t.size, t[add_blocks]

    def body(p):  # type: ignore[no-untyped-def]
        columns, blocks, step = p.columns, p.blocks, p.step
        block, to = p.first, p.to.data
        for _row in range(p.rows):
            if p.accumulate != 0:
                call(add, AddBlocks(n=columns, start=to, first=block, blocks=blocks, step=step,
                                    to=to))  # fmt: skip
            else:
                call(add, AddBlocks(n=columns, start=block, first=block + step, blocks=blocks - 1,
                                    step=step, to=to))  # fmt: skip
            block += columns * size
            to += p.to.row
        return OK

    return body

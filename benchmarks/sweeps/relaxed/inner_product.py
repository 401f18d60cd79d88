"""A row times a column: eight accumulators of a vector each, and their lanes summed.

In place of fastgrad/_kernels/gemm/inner_product.py in the copy that price.py measures; same kernel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, vector_function
from ..codegen.simd import Simd, Value, for_range, i64
from ..runtime.registry import Floats, kernel
from ..runtime.scratch import HEADER, acquire, release
from ..runtime.table import OUT_OF_MEMORY
from .args import Fold, Gemm
from .reduce import fold
from .sums import lane_sums

ACCUMULATORS = 8


class LaneDot(NamedTuple):
    """out[0] = a . b; a and b of unit stride."""

    k: int
    a: int
    b: int
    out: int


@vector_function(LaneDot)
def lane_dot(ops: Simd, p: LaneDot) -> None:
    b, itemsize = ops.builder, ops.itemsize
    sums = [b.alloca(ops.float) for _ in range(ACCUMULATORS)]
    for s in sums:
        b.store(ops.constant(0.0).ir, s)
    step = ACCUMULATORS * ops.lanes
    whole = b.sub(p.k, b.srem(p.k, i64(step)))
    with for_range(b, whole, step) as i:
        along = b.mul(i, i64(itemsize))
        for number, s in enumerate(sums):
            pair = [ops.load(b.add(at, along), number * ops.bytes) for at in (p.a, p.b)]
            b.store(ops.fma(*pair, Value(ops, b.load(s))).ir, s)
    with for_range(b, b.sub(p.k, whole), ops.lanes) as i:
        along = b.mul(b.add(whole, i), i64(itemsize))
        mask = ops.first(b.sub(b.sub(p.k, whole), i))
        pair = [ops.load(b.add(at, along), 0, mask) for at in (p.a, p.b)]
        b.store(ops.fma(*pair, Value(ops, b.load(sums[0]))).ir, sums[0])
    parts = [Value(ops, b.load(s)) for s in sums]
    while len(parts) > 1:
        parts = [x + y for x, y in zip(parts[::2], parts[1::2], strict=True)]
    ops.store(lane_sums(ops, parts), p.out, 0, ops.first(i64(1)))


@kernel(Gemm)
def inner_product(t: Floats) -> Any:
    size, add_up, dot = t.size, t[fold], t[lane_dot]

    def body(p):  # type: ignore[no-untyped-def]
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        sums = arena + HEADER
        call(dot, LaneDot(k=p.k, a=p.a.data, b=p.b.data, out=sums))
        status = call(add_up, Fold(
            rows=1, columns=1, blocks=1, first=sums, step=size, to=p.to,
            accumulate=p.epilogue.accumulate,
        ))  # fmt: skip
        release(arena)
        return status

    return body

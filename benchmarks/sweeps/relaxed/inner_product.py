"""A row times a column: eight accumulators of a vector each, and their lanes summed.

In place of fastgrad/_kernels/gemm/inner_product.py in the copy that price.py measures; same kernel.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.memory import call_kernel, word
from ..codegen.simd import Simd, Value, for_range, i64, new_function
from ..codegen.target import current
from ..runtime.jit import OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import HEADER, acquire, release
from .reduce import FOLD
from .sums import lane_sums

ACCUMULATORS = 8


@intrinsic(prefer_literal=True)
def lane_dot(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """out[0] = a . b; (k, a, b, out), a and b of unit stride."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = _emit(b.module, signature.args[0].literal_value)
        b.call(function, cgutils.unpack_tuple(b, args[1]))
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, 4)), codegen


def _emit(module: ir.Module, itemsize: int) -> ir.Function:
    isa = current().isa
    name = f"fastgrad_lane_dot_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 4)
    k, x, y, out = function.args
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    sums = [b.alloca(ops.float) for _ in range(ACCUMULATORS)]
    for s in sums:
        b.store(ops.constant(0.0).ir, s)
    step = ACCUMULATORS * ops.lanes
    whole = b.sub(k, b.srem(k, i64(step)))
    with for_range(b, whole, step) as i:
        along = b.mul(i, i64(itemsize))
        for number, s in enumerate(sums):
            pair = [ops.load(b.add(p, along), number * ops.bytes) for p in (x, y)]
            b.store(ops.fma(*pair, Value(ops, b.load(s))).ir, s)
    with for_range(b, b.sub(k, whole), ops.lanes) as i:
        along = b.mul(b.add(whole, i), i64(itemsize))
        mask = ops.first(b.sub(b.sub(k, whole), i))
        pair = [ops.load(b.add(p, along), 0, mask) for p in (x, y)]
        b.store(ops.fma(*pair, Value(ops, b.load(sums[0]))).ir, sums[0])
    parts = [Value(ops, b.load(s)) for s in sums]
    while len(parts) > 1:
        parts = [p + q for p, q in zip(parts[::2], parts[1::2], strict=True)]
    ops.store(lane_sums(ops, parts), out, 0, ops.first(i64(1)))
    b.ret_void()
    return function


def dot(dtype: str) -> Any:
    version = stamp()
    size = 4 if dtype == "float32" else 8
    fold, header = slot(FOLD, dtype), HEADER

    def kernel_dot(d):  # type: ignore[no-untyped-def]
        _ = version
        scratch = acquire()
        if scratch == 0:
            return OUT_OF_MEMORY
        sums = scratch + header
        lane_dot(size, (word(d, 2), word(d, 3), word(d, 6), sums))
        status = call_kernel(fold, (1, 1, 1, sums, size, word(d, 9), size, word(d, 11)))
        release(scratch)
        return status

    return kernel_dot


DOT = register("dot", dot)

"""Kernels that apply one formula to every element: activations, their backward, exp, log, ...

One kernel a formula and dtype, compiled when it is first called. Rows of vectors; the last vector
of a row runs the same code as the others under a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from ..codegen.calls import VectorFunction
from ..codegen.simd import Simd, Value, at_most, for_range, i64
from ..formulas import elementary
from ..formulas.activations import TABLE
from ..runtime.registry import Kernel, kernel_of
from .args import Formula, Rows

# name -> formula(ops, x, ...) ; the numbers of kernels follow this order
FORMULAS: dict[str, Callable[..., Any]] = {
    "none": lambda ops, x: x,
    **{row.name: row.value for row in TABLE},
    "none_backward": lambda ops, g, s: g,
    **{row.name + "_backward": row.backward for row in TABLE},
    **{f.__name__: f for f in (elementary.exp, elementary.log, elementary.erf, elementary.erfc)},
}

# Formulas of a few operations go over several vectors at a time: two cache lines.
_SHORT = ("none_backward", "relu_backward", "sigmoid_backward", "tanh_backward")
_STRIP_BYTES = 128
_STRIP_ROWS = 16


class Derivative(NamedTuple):
    """y (rows, columns) = a formula of x and s; sums (columns,) += each row of y."""

    rows: int
    columns: int
    x: Rows
    s: Rows
    y: Rows
    sums: int


def _emit_value(formula: Callable[..., Any]) -> Callable[[Simd, Formula], None]:
    def emit(ops: Simd, p: Formula) -> None:
        b = ops.builder
        with for_range(b, p.rows) as r, for_range(b, p.columns, ops.lanes) as c:
            offset = b.mul(c, i64(ops.itemsize))
            x, y = (b.add(b.add(a.data, b.mul(r, a.row)), offset) for a in (p.x, p.y))
            mask = ops.lanes_left(b.sub(p.columns, c))
            ops.store(formula(ops, ops.load(x, 0, mask)), y, 0, mask)

    return emit


def _emit_backward(formula: Callable[..., Any], many: bool) -> Callable[[Simd, Derivative], None]:
    """Down strips of columns, whose sums stay in registers: what is stored under a mask cannot be
    loaded again for some 15 cycles. A few rows at a time, whose lines stay in L1 for all strips."""

    def emit(ops: Simd, p: Derivative) -> None:
        b = ops.builder
        vectors = _STRIP_BYTES // ops.bytes if many else 1
        # registers, once LLVM has promoted them
        totals = [b.alloca(ops.float) for _ in range(vectors)]
        with (
            for_range(b, p.rows, _STRIP_ROWS) as first,
            for_range(b, p.columns, vectors * ops.lanes) as c,
        ):
            offset = b.mul(c, i64(ops.itemsize))
            masks = [ops.lanes_left(b.sub(p.columns, c), v) for v in range(vectors)]
            sums = b.add(p.sums, offset)
            for v, total in enumerate(totals):
                b.store(ops.load(sums, v * ops.bytes, masks[v]).ir, total)
            with for_range(b, at_most(b, b.sub(p.rows, first), _STRIP_ROWS)) as r:
                row = b.add(first, r)
                x, s, y = (_at(b, a, row, offset) for a in (p.x, p.s, p.y))
                for v, total in enumerate(totals):
                    operands = (ops.load(a, v * ops.bytes, masks[v]) for a in (x, s))
                    result = formula(ops, *operands)
                    ops.store(result, y, v * ops.bytes, masks[v])
                    b.store((Value(ops, b.load(total)) + result).ir, total)
            for v, total in enumerate(totals):
                ops.store(Value(ops, b.load(total)), sums, v * ops.bytes, masks[v])

    return emit


def _at(b: ir.IRBuilder, a: Rows, row: ir.Value, offset: ir.Value) -> ir.Value:
    return b.add(b.add(a.data, offset), b.mul(row, a.row))


def _kernel(name: str) -> Kernel:
    formula = FORMULAS[name]
    if name.endswith("_backward"):
        emit = _emit_backward(formula, name in _SHORT)
        return kernel_of(VectorFunction(emit, Derivative, name))
    return kernel_of(VectorFunction(_emit_value(formula), Formula, name))


KERNELS = {name: _kernel(name) for name in FORMULAS}
# The kernel of an activation is so many after these as its code: see calls.nth.
VALUE, BACKWARD = KERNELS["none"], KERNELS["none_backward"]

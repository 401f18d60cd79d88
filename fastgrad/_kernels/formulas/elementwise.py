"""Kernels that apply one formula to every element: activations, their backward, exp, log, ...

One kernel a formula and dtype, compiled when it is first called. Rows of vectors; the last vector
of a row runs the same code as the others under a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen.memory import word
from ..codegen.simd import Simd, Value, for_range, i64, new_function
from ..codegen.target import current
from ..gemm.reduce import lanes_left
from ..runtime.jit import OK, register, stamp
from . import elementary
from .activations import TABLE

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


def _emit(module: ir.Module, itemsize: int, formula: str, inputs: int) -> ir.Function:
    """f(rows, columns, x, x_row, y, y_row): y = formula(x);
    f(rows, columns, x, x_row, s, s_row, y, y_row, sums): y = formula(x, s), sums += each row of y.
    """
    isa = current().isa
    function, b = new_function(module, f"fastgrad_{formula}", 6 if inputs == 1 else 9)
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    if inputs == 2:
        _emit_columns(ops, formula, *function.args)
        b.ret_void()
        return function
    rows, columns, *streams = function.args
    with for_range(b, rows) as r, for_range(b, columns, ops.lanes) as c:
        offset = b.mul(c, i64(itemsize))
        x, y = (b.add(b.add(a, b.mul(r, row)), offset) for a, row in (streams[:2], streams[2:]))
        mask = lanes_left(ops, b.sub(columns, c), 0)
        ops.store(FORMULAS[formula](ops, ops.load(x, 0, mask)), y, 0, mask)
    b.ret_void()
    return function


def _emit_columns(ops: Simd, formula: str, rows: ir.Value, columns: ir.Value, x: ir.Value,
                  x_row: ir.Value, s: ir.Value, s_row: ir.Value, y: ir.Value, y_row: ir.Value,
                  sums: ir.Value) -> None:  # fmt: skip
    """Down strips of columns, whose sums stay in registers: what is stored under a mask cannot be
    loaded again for some 15 cycles. A few rows at a time, whose lines stay in L1 for all strips."""
    b = ops.builder
    vectors = _STRIP_BYTES // ops.bytes if formula in _SHORT else 1
    totals = [b.alloca(ops.float) for _ in range(vectors)]  # registers, once LLVM has promoted them
    streams = ((x, x_row), (s, s_row), (y, y_row))
    with (
        for_range(b, rows, _STRIP_ROWS) as first,
        for_range(b, columns, vectors * ops.lanes) as c,
    ):
        offset = b.mul(c, i64(ops.itemsize))
        masks = [lanes_left(ops, b.sub(columns, c), v) for v in range(vectors)]
        for v, total in enumerate(totals):
            b.store(ops.load(b.add(sums, offset), v * ops.bytes, masks[v]).ir, total)
        left = b.sub(rows, first)
        left = b.select(b.icmp_signed("<", left, i64(_STRIP_ROWS)), left, i64(_STRIP_ROWS))
        with for_range(b, left) as r:
            row = b.add(first, r)
            at = [b.add(b.add(base, offset), b.mul(row, step)) for base, step in streams]
            for v, total in enumerate(totals):
                operands = (ops.load(a, v * ops.bytes, masks[v]) for a in at[:2])
                result = FORMULAS[formula](ops, *operands)
                ops.store(result, at[2], v * ops.bytes, masks[v])
                b.store((Value(ops, b.load(total)) + result).ir, total)
        for v, total in enumerate(totals):
            ops.store(Value(ops, b.load(total)), b.add(sums, offset), v * ops.bytes, masks[v])


@intrinsic(prefer_literal=True)
def apply(typing_context: Any, itemsize: Any, number: Any, words: Any) -> Any:
    """``apply(itemsize, index of the formula, words of _emit's function)``"""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        name = list(FORMULAS)[signature.args[1].literal_value]
        count = len(words)
        function = _emit(b.module, signature.args[0].literal_value, name, 1 if count == 6 else 2)
        b.call(function, [b.extract_value(args[2], i) for i in range(count)])
        return context.get_dummy_value()

    return types.void(itemsize, number, words), codegen


def _build(name: str) -> Callable[[str], Any]:
    number = list(FORMULAS).index(name)
    two = name.endswith("_backward")

    def build(dtype: str) -> Any:
        version = stamp()
        size = 4 if dtype == "float32" else 8

        def unary(d):  # type: ignore[no-untyped-def]
            _ = version
            words = (word(d, 0), word(d, 1), word(d, 2), word(d, 3), word(d, 4), word(d, 5))
            apply(size, number, words)
            return OK

        def binary(d):  # type: ignore[no-untyped-def]
            _ = version
            words = (word(d, 0), word(d, 1), word(d, 2), word(d, 3),
                     word(d, 4), word(d, 5), word(d, 6), word(d, 7), word(d, 8))  # fmt: skip
            apply(size, number, words)
            return OK

        return binary if two else unary

    return build


NUMBERS = {name: register(name, _build(name)) for name in FORMULAS}
VALUE, BACKWARD = NUMBERS["none"], NUMBERS["none_backward"]  # + code of the activation

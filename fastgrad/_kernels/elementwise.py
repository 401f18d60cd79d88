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

from . import mathfun
from .activations import TABLE
from .jit import OK, register, stamp
from .lowlevel import word
from .simd import Simd, for_range, i64, new_function
from .target import current

# name -> formula(ops, x, ...) ; the numbers of kernels follow this order
FORMULAS: dict[str, Callable[..., Any]] = {
    "none": lambda ops, x: x,
    **{row.name: row.value for row in TABLE},
    "none_backward": lambda ops, g, s: g,
    **{row.name + "_backward": row.backward for row in TABLE},
    **{f.__name__: f for f in (mathfun.exp, mathfun.log, mathfun.erf, mathfun.erfc)},
}


def _emit(module: ir.Module, itemsize: int, formula: str, inputs: int) -> ir.Function:
    """f(rows, columns, x, x_row, y, y_row): y = formula(x);
    f(rows, columns, x, x_row, s, s_row, y, y_row, sums): y = formula(x, s), sums += each row of y.
    """
    isa = current().isa
    function, b = new_function(module, f"fastgrad_{formula}", 6 if inputs == 1 else 9)
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    rows, columns, *streams = function.args
    sums = streams.pop() if inputs == 2 else None
    with for_range(b, rows) as r, for_range(b, columns, ops.lanes) as c:
        left = b.sub(columns, c)
        lanes = i64(ops.lanes)
        mask = ops.first(b.select(b.icmp_signed("<", left, lanes), left, lanes))
        here = [
            b.add(b.add(base, b.mul(r, row)), b.mul(c, i64(itemsize)))
            for base, row in zip(streams[::2], streams[1::2], strict=True)
        ]
        result = FORMULAS[formula](ops, *(ops.load(p, 0, mask) for p in here[:-1]))
        ops.store(result, here[-1], 0, mask)
        if sums is not None:
            total = b.add(sums, b.mul(c, i64(itemsize)))
            ops.store(ops.load(total, 0, mask) + result, total, 0, mask)
    b.ret_void()
    return function


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

"""Integer arithmetic for the loops around kernels: one LLVM instruction each, not Python's rules.

numba's own ``min`` and ``//`` are right for every sign and divisor; sizes are not negative here,
and what the rules add to a large kernel is most of its compile time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import i64


def on_integers(emit: Callable[..., ir.Value | None]) -> Any:
    """The intrinsic that emits ``emit(builder, *arguments)``; what returns None returns 0."""

    def typing(typing_context: Any, *args: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            result = emit(b, *values)
            return i64(0) if result is None else result

        return types.intp(*[types.intp] * len(args)), codegen

    # numba wants the arguments by name; emit's first one, the builder, stands for the context
    typing.__name__ = emit.__name__
    typing.__signature__ = inspect.signature(emit)  # type: ignore[attr-defined]
    return intrinsic(typing)


@on_integers
def least(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


@on_integers
def most(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed(">", x, y), x, y)


@on_integers
def pick(b: ir.IRBuilder, condition: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """x where the condition is not 0, else y."""
    return b.select(b.icmp_signed("!=", condition, i64(0)), x, y)


@on_integers
def quotient(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """x / y rounded down; y > 0."""
    return b.udiv(x, y)


@on_integers
def remainder(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.urem(x, y)


@on_integers
def ceil_div(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """x / y rounded up; y > 0."""
    return b.udiv(b.add(x, b.sub(y, i64(1))), y)


@intrinsic
def double(typing_context: Any, bits: Any) -> Any:
    """The float64 of these bits."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.bitcast(args[0], ir.DoubleType())

    return types.float64(types.intp), codegen


@intrinsic
def bits_of(typing_context: Any, x: Any) -> Any:
    """A float64 as a word."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.bitcast(args[0], ir.IntType(64))

    return types.intp(types.float64), codegen

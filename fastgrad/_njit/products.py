"""matmul, matmul_nt and matmul_tn in compiled code."""

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic, overload

from .._ops import checks
from .._ops import matmul as _matmul
from . import given
from .given import OPTIONS


def _result(function: str, a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    """The type of the result."""
    with given.typing():
        left, right = given.array(function, "a", a), given.array(function, "b", b)
        given.flag(function, "accumulate", accumulate)
        ndim = max(left.ndim, right.ndim, 2) - 2 + (left.ndim > 1) + (right.ndim > 1)
        dtype = checks.result_dtype(left, right)
        return given.result(function, "out", out, ndim, dtype)


def _in_compiled_code(function: str) -> Any:
    """The overload of a product."""

    @intrinsic(prefer_literal=True)
    def product(typing_context: Any, a: Any, b: Any, out: Any, accumulate: Any) -> Any:
        result = _result(function, a, b, out, accumulate)
        is_number = given.is_none(out) and result.ndim == 0

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            from numba.core.imputils import impl_ret_borrowed

            from .emit import Caller

            call = Caller(context, builder, function)
            call.array(a, values[0], to=result.dtype)
            call.array(b, values[1], to=result.dtype)
            number = None
            if is_number:
                number = call.place(result.dtype)
                call.word(number)
            elif given.is_none(out):
                call.wanted(result)
            else:
                call.array(out, values[2])
            call.flag(accumulate, values[3])
            made = call.call()
            if number is not None:
                return call.stored(result.dtype, number)
            return made[0] if made else impl_ret_borrowed(context, builder, out, values[2])

        return (result.dtype if is_number else result)(a, b, out, accumulate), codegen

    def typed(a, b, out=None, accumulate=False):  # type: ignore[no-untyped-def]
        _result(function, a, b, out, accumulate)

        def implementation(a, b, out=None, accumulate=False):  # type: ignore[no-untyped-def]
            return product(a, b, out, accumulate)

        return implementation

    return overload(getattr(_matmul, function), prefer_literal=True, jit_options=OPTIONS)(typed)


for _function in ("matmul", "matmul_nt", "matmul_tn"):
    _in_compiled_code(_function)

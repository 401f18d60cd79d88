"""softmax and activation in compiled code: a new array of the shape and the floats of the first."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic, overload
from numba.np import numpy_support

from .._ops import checks, elementwise, losses
from . import given
from .given import OPTIONS


def _result(function: str, name: str, value: Any) -> Any:
    with given.typing():
        checked = given.array(function, name, value)
    return types.Array(numpy_support.from_dtype(checks.result_dtype(checked)), checked.ndim, "C")


@intrinsic
def _softmax(typing_context: Any, logits: Any) -> Any:
    result = _result("softmax", "logits", logits)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from .emit import Caller

        call = Caller(context, builder, "softmax")
        call.array(logits, values[0], to=result.dtype)
        made = call.like(result, logits, values[0])
        call.call()
        return made

    return result(logits), codegen


@intrinsic(prefer_literal=True)
def _activation(typing_context: Any, name: Any, z: Any) -> Any:
    result = _result("activation", "z", z)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from .emit import Caller

        call = Caller(context, builder, "activation")
        call.text(name, values[0])
        call.array(z, values[1], to=result.dtype)
        made = call.like(result, z, values[1])
        call.call()
        return made

    return result(name, z), codegen


@overload(losses.softmax, jit_options=OPTIONS)
def _typed_softmax(logits):  # type: ignore[no-untyped-def]
    _result("softmax", "logits", logits)

    def implementation(logits):  # type: ignore[no-untyped-def]
        return _softmax(logits)

    return implementation


@overload(elementwise.activation, prefer_literal=True, jit_options=OPTIONS)
def _typed_activation(name, z):  # type: ignore[no-untyped-def]
    with given.typing():
        given.activation("activation", name)
    _result("activation", "z", z)

    def implementation(name, z):  # type: ignore[no-untyped-def]
        return _activation(name, z)

    return implementation

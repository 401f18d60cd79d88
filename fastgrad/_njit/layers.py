"""linear_forward and linear_backward in compiled code."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload
from numba.np import numpy_support

from .._kernels.bind.grads import LinearGrads
from .._kernels.formulas.activations import BY_NAME
from .._ops import checks, layer_stack, linear
from . import given
from .given import OPTIONS

_FORWARD, _BACKWARD = "linear_forward", "linear_backward"


def _forward_result(x: Any, weight: Any, bias: Any, activation: Any, out: Any, z: Any) -> Any:
    with given.typing():
        arrays = [
            given.array(_FORWARD, "x", x),
            given.array(_FORWARD, "weight", weight),
            given.array_or_none(_FORWARD, "bias", bias),
        ]
        given.activation(_FORWARD, activation)
        dtype, (ndim, *_) = checks.result_dtype(*arrays), layer_stack.dimensions(x, weight)
        if not given.is_none(z):
            given.result(_FORWARD, "preactivation_out", z, ndim, dtype)
        return given.result(_FORWARD, "out", out, ndim, dtype)


@intrinsic(prefer_literal=True)
def _forward(
    typing_context: Any, x: Any, weight: Any, bias: Any, activation: Any, out: Any, z: Any
) -> Any:
    result = _forward_result(x, weight, bias, activation, out, z)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from numba.core.imputils import impl_ret_borrowed

        from .emit import Caller

        call = Caller(context, builder, _FORWARD)
        for kind, value in zip((x, weight, bias), values, strict=False):
            call.array(kind, value, to=result.dtype)
        call.text(activation, values[3])
        if given.is_none(out):
            call.wanted(result)
        else:
            call.array(out, values[4])
        call.array(z, values[5])
        made = call.call()
        return made[0] if made else impl_ret_borrowed(context, builder, out, values[4])

    return result(x, weight, bias, activation, out, z), codegen


@overload(linear.linear_forward, prefer_literal=True, jit_options=OPTIONS)
def _typed_forward(  # type: ignore[no-untyped-def]
    x, weight, bias=None, activation=None, out=None, preactivation_out=None
):
    _forward_result(x, weight, bias, activation, out, preactivation_out)

    def implementation(  # type: ignore[no-untyped-def]
        x, weight, bias=None, activation=None, out=None, preactivation_out=None
    ):
        return _forward(x, weight, bias, activation, out, preactivation_out)

    return implementation


class _Backward:
    """What the types of the arguments of linear_backward say."""

    def __init__(
        self, g: Any, x: Any, weight: Any, activation: Any, y: Any, z: Any,
        needs: Any, out: Any, accumulate: Any,
    ) -> None:  # fmt: skip
        f = _BACKWARD
        with given.typing():
            arrays = [given.array(f, n, a) for n, a in (("grad_output", g), ("x", x))]
            arrays.append(given.array(f, "weight", weight))
            name = given.activation(f, activation)
            known = BY_NAME.get(name) if isinstance(name, str) else None
            self.saved = [  # y and z, as far as they are looked at
                kind if name is True or (known and known.saved == saved) else None
                for saved, kind in (("output", y), ("preactivation", z))
            ]
            kept = [
                given.array_or_none(f, n, a)
                for n, a in zip(("output", "preactivation"), self.saved, strict=True)
            ]
            dtypes = {checks.result_dtype(*arrays, a) for a in kept if a is not None}
            if len(dtypes) > 1:
                raise TypeError(
                    f"{f}: output and preactivation differ in dtype, and which of them is taken "
                    f"is not known before it runs; convert one, or pass a constant activation"
                )
            dtype = dtypes.pop() if dtypes else checks.result_dtype(*arrays)
            self.dtype = numpy_support.from_dtype(dtype)
            self.needs = [_constant(kind) for kind in given.items(f, "needs", needs, "bools")]
            self.outs = given.items(f, "out", out, "arrays or None")
            self.adds = _three(f, accumulate)
            for kind in self.adds:
                given.flag(f, "accumulate", kind)
            names = ("out[0] (x)", "out[1] (weight)", "out[2] (bias)")
            rows = zip(
                names, self.needs, self.outs, layer_stack.dimensions(x, weight)[1:], strict=True
            )
            self.results = [
                given.result(f, name, to, ndim, dtype) if need else types.none
                for name, need, to, ndim in rows
            ]
        self.result = types.NamedTuple(self.results, LinearGrads)


def _constant(kind: Any) -> bool:
    """One of needs: True or False, known now."""
    value = given.sample(kind)
    if isinstance(kind, types.Boolean) and not isinstance(kind, types.Literal):
        raise TypingError(
            f"{_BACKWARD}: needs is not a constant; in compiled code write the tuple of True and "
            f"False in the call, as its values decide the type of the result"
        )
    return checks.flag(_BACKWARD, "needs", value)


def _three(function: str, accumulate: Any) -> Any:
    if isinstance(accumulate, types.BaseTuple):
        return given.items(function, "accumulate", accumulate, "bools")
    return [accumulate] * 3


def _backward(plan: _Backward, activation: Any, out: Any, accumulate: Any) -> Any:
    """The intrinsic for arguments of these types: its own would not show a default's values."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:

        from .._kernels.codegen.simd import i64
        from .emit import Caller

        def item(kind: Any, value: Any, i: int) -> Any:
            return builder.extract_value(value, i) if isinstance(kind, types.BaseTuple) else value

        call = Caller(context, builder, _BACKWARD)
        for kind, value in zip(signature.args[:3], values, strict=False):
            call.array(kind, value, to=plan.dtype)
        call.text(activation, values[3])
        for kind, value in zip(plan.saved, values[4:6], strict=True):
            call.array(kind, value, to=plan.dtype)
        for need in plan.needs:
            call.word(i64(int(need)))
        outs = [item(out, values[6], i) for i in range(3)]
        for need, kind, result, value in zip(
            plan.needs, plan.outs, plan.results, outs, strict=True
        ):
            if need and given.is_none(kind):
                call.wanted(result)
            else:
                call.array(kind, value)
        for i, kind in enumerate(plan.adds):
            call.flag(kind, item(accumulate, values[7], i))
        call.word(i64(int(not all(given.is_none(kind) for kind in plan.outs))))
        made = iter(call.call())
        grads = []
        for need, kind, result, value in zip(
            plan.needs, plan.outs, plan.results, outs, strict=True
        ):
            if not need:
                grads.append(context.get_dummy_value())
            elif given.is_none(kind):
                grads.append(next(made))
            else:
                context.nrt.incref(builder, result, value)
                grads.append(value)
        return context.make_tuple(builder, plan.result, grads)

    def typed(
        typing_context: Any, g: Any, x: Any, weight: Any, name: Any, y: Any, z: Any,
        outs: Any, adds: Any,
    ) -> Any:  # fmt: skip
        return plan.result(g, x, weight, name, y, z, outs, adds), codegen

    return intrinsic(typed)


@overload(linear.linear_backward, prefer_literal=True, jit_options=OPTIONS)
def _typed_backward(  # type: ignore[no-untyped-def]
    grad_output, x, weight, activation=None, output=None, preactivation=None,
    needs=(True, True, True), out=(None, None, None), accumulate=False,
):  # fmt: skip
    plan = _Backward(
        grad_output, x, weight, activation, output, preactivation, needs, out, accumulate
    )
    backward = _backward(plan, activation, out, accumulate)

    def implementation(  # type: ignore[no-untyped-def]
        grad_output, x, weight, activation=None, output=None, preactivation=None,
        needs=(True, True, True), out=(None, None, None), accumulate=False,
    ):  # fmt: skip
        return backward(grad_output, x, weight, activation, output, preactivation, out, accumulate)

    return implementation

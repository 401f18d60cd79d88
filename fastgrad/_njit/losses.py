"""The losses in compiled code: (loss, gradient), a float and an array as the logits' floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload
from numba.np import numpy_support

from .._ops import checks
from .._ops import losses as _losses
from . import given
from .given import OPTIONS

_SOFTMAX = "softmax_cross_entropy"


def _result(function: str, names: tuple[str, str], values: Any, targets: Any) -> Any:
    """The type of the gradient."""
    with given.typing():
        checked = given.array(function, names[0], values)
        wanted = given.array(function, names[1], targets)
        if function == _SOFTMAX and wanted.ndim != 2 and wanted.dtype.kind not in "iu":
            _refuse_labels(wanted)
    dtype = numpy_support.from_dtype(checks.result_dtype(checked))
    return types.Array(dtype, checked.ndim, "C")


def _refuse_labels(labels: Any) -> None:
    """Labels of a wrong dtype: as from Python, but for their shape, which is not known."""
    one = np.zeros((1,) * labels.ndim, labels.dtype)
    try:
        _losses.check_labels(_SOFTMAX, one, 1, 1)
    except TypeError as error:
        raise TypingError(str(error).replace(f", shape {one.shape}", "")) from None


def _number(function: str, name: str, value: Any) -> None:
    if not isinstance(value, types.Integer | types.Float | types.Boolean):
        raise TypingError(f"{function}: {name} is {given.sample(value)!r}, not a number")


def _target_dtype(function: str, of_logits: Any, targets: Any) -> Any:
    """What targets are converted to; None where Python has to look at them as they are."""
    if function == _SOFTMAX:
        return types.int64 if targets.ndim == 1 else None
    if function == "mse" or not isinstance(targets.dtype, types.Float):
        return of_logits
    return None  # a probability beyond 1 may be rounded to 1


def _intrinsic(function: str, names: tuple[str, str]) -> Any:
    def emit(result: Any, context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        from numba.core import cgutils

        from .emit import Caller

        call = Caller(context, builder, function)
        call.array(kinds[0], values[0], to=result.dtype)
        call.array(kinds[1], values[1], to=_target_dtype(function, result.dtype, kinds[1]))
        for kind, value in zip(kinds[2:], values[2:], strict=True):
            call.number(kind, value)
        loss = call.place(types.float64)
        call.word(loss)
        grad = call.like(result, kinds[0], values[0])
        call.call()
        return cgutils.pack_struct(builder, [call.stored(types.float64, loss), grad])

    def loss(typing_context: Any, prediction: Any, targets: Any) -> Any:
        result = _result(function, names, prediction, targets)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return emit(result, context, builder, (prediction, targets), values)

        return types.Tuple((types.float64, result))(prediction, targets), codegen

    def smoothed(typing_context: Any, logits: Any, labels: Any, smoothing: Any) -> Any:
        result = _result(function, names, logits, labels)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return emit(result, context, builder, (logits, labels, smoothing), values)

        return types.Tuple((types.float64, result))(logits, labels, smoothing), codegen

    return intrinsic(smoothed if function == _SOFTMAX else loss)


_softmax = _intrinsic(_SOFTMAX, ("logits", "labels"))
_binary = _intrinsic("binary_cross_entropy_with_logits", ("logits", "targets"))
_mse = _intrinsic("mse", ("prediction", "target"))


@overload(_losses.softmax_cross_entropy, jit_options=OPTIONS)
def _typed_softmax(logits, labels, label_smoothing=0.0):  # type: ignore[no-untyped-def]
    _result(_SOFTMAX, ("logits", "labels"), logits, labels)
    if isinstance(label_smoothing, types.Type) and not isinstance(label_smoothing, types.Omitted):
        _number(_SOFTMAX, "label_smoothing", label_smoothing)

    def implementation(logits, labels, label_smoothing=0.0):  # type: ignore[no-untyped-def]
        return _softmax(logits, labels, label_smoothing)

    return implementation


@overload(_losses.binary_cross_entropy_with_logits, jit_options=OPTIONS)
def _typed_binary(logits, targets):  # type: ignore[no-untyped-def]
    _result("binary_cross_entropy_with_logits", ("logits", "targets"), logits, targets)

    def implementation(logits, targets):  # type: ignore[no-untyped-def]
        return _binary(logits, targets)

    return implementation


@overload(_losses.mse, jit_options=OPTIONS)
def _typed_mse(prediction, target):  # type: ignore[no-untyped-def]
    _result("mse", ("prediction", "target"), prediction, target)

    def implementation(prediction, target):  # type: ignore[no-untyped-def]
        return _mse(prediction, target)

    return implementation

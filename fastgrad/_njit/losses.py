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
        is_labels = wanted.ndim not in (2, checked.ndim)
        if function == _SOFTMAX and is_labels and wanted.dtype.kind not in "biu":
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


def _target_dtype(function: str, logits: Any, targets: Any) -> Any:
    """What targets are converted to; None where Python has to look at them as they are."""
    if function == _SOFTMAX:
        is_labels = targets.ndim not in (2, logits.ndim)
        return types.int64 if is_labels else None
    of_logits = logits.dtype
    if function == "mse" or not isinstance(targets.dtype, types.Float):
        return of_logits
    return None  # a probability beyond 1 may be rounded to 1


def _with_loss(call: Any, result: Any, logits: Any, value: Any) -> Any:
    """Do the call -> loss, gradient; they are its last two operands."""
    from numba.core import cgutils

    loss = call.place(types.float64)
    call.word(loss)
    grad = call.like(result, logits, value)
    call.call()
    return cgutils.pack_struct(call.b, [call.stored(types.float64, loss), grad])


def _intrinsic(function: str, names: tuple[str, str]) -> Any:
    def emit(result: Any, context: Any, builder: Any, kinds: Any, values: Any) -> Any:
        from .emit import Caller

        call = Caller(context, builder, function)
        call.array(kinds[0], values[0], to=result.dtype)
        call.array(kinds[1], values[1], to=_target_dtype(function, result, kinds[1]))
        for kind, value in zip(kinds[2:], values[2:], strict=True):
            call.number(kind, value)
        return _with_loss(call, result, kinds[0], values[0])

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


def _with_options(function: str, names: tuple[str, str]) -> Any:
    """The same with all options, which Python looks at: numbers, arrays or None."""

    def call_all(context: Any, builder: Any, kinds: Any, values: Any, result: Any) -> Any:
        from .emit import Caller

        call = Caller(context, builder, f"weighted_{function}")
        call.array(kinds[0], values[0], to=result.dtype)
        for kind, value in zip(kinds[1:], values[1:], strict=True):
            if isinstance(kind, types.Array) or given.is_none(kind):
                call.array(kind, value)
            else:
                call.number(kind, value)
        return _with_loss(call, result, kinds[0], values[0])

    def three(typing_context: Any, prediction: Any, targets: Any, options: Any) -> Any:
        result = _result(function, names, prediction, targets)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            count = len(signature.args[2])
            kinds = (*signature.args[:2], *signature.args[2])
            parts = (builder.extract_value(values[2], i) for i in range(count))
            return call_all(context, builder, kinds, (*values[:2], *parts), result)

        return types.Tuple((types.float64, result))(prediction, targets, options), codegen

    return intrinsic(three)


_any_softmax = _with_options(_SOFTMAX, ("logits", "labels"))
_any_binary = _with_options("binary_cross_entropy_with_logits", ("logits", "targets"))
_any_mse = _with_options("mse", ("prediction", "target"))


def _check_options(function: str, weights: Any, denominator: Any, **others: Any) -> bool:
    """Whether there are any; each is None, a number or, of weights and pos_weight, an array."""
    for name, value in {"denominator": denominator, **others}.items():
        is_array = name == "pos_weight" and isinstance(value, types.Array)
        if not (given.is_none(value) or is_array):
            _number(function, name, value)
    if not given.is_none(weights):
        with given.typing():
            given.array(function, "weights", weights)
    options = (weights, denominator, *others.values())
    return not all(given.is_none(value) for value in options)


@overload(_losses.softmax_cross_entropy, jit_options=OPTIONS)
def _typed_softmax(  # type: ignore[no-untyped-def]
    logits, labels, label_smoothing=0.0, weights=None, denominator=None, ignore_index=None
):
    _result(_SOFTMAX, ("logits", "labels"), logits, labels)
    if isinstance(label_smoothing, types.Type) and not isinstance(label_smoothing, types.Omitted):
        _number(_SOFTMAX, "label_smoothing", label_smoothing)
    if isinstance(ignore_index, types.Float | types.Boolean):
        value = given.sample(ignore_index)
        raise TypingError(f"{_SOFTMAX}: ignore_index is {value!r}; pass an integer")
    has_options = _check_options(_SOFTMAX, weights, denominator, ignore_index=ignore_index)

    def plain(  # type: ignore[no-untyped-def]
        logits, labels, label_smoothing=0.0, weights=None, denominator=None, ignore_index=None
    ):
        return _softmax(logits, labels, label_smoothing)

    def implementation(  # type: ignore[no-untyped-def]
        logits, labels, label_smoothing=0.0, weights=None, denominator=None, ignore_index=None
    ):
        options = (label_smoothing, weights, denominator, ignore_index)
        return _any_softmax(logits, labels, options)

    return implementation if has_options else plain


@overload(_losses.binary_cross_entropy_with_logits, jit_options=OPTIONS)
def _typed_binary(  # type: ignore[no-untyped-def]
    logits, targets, weights=None, denominator=None, pos_weight=None
):
    function = "binary_cross_entropy_with_logits"
    _result(function, ("logits", "targets"), logits, targets)
    has_options = _check_options(function, weights, denominator, pos_weight=pos_weight)

    def plain(  # type: ignore[no-untyped-def]
        logits, targets, weights=None, denominator=None, pos_weight=None
    ):
        return _binary(logits, targets)

    def implementation(  # type: ignore[no-untyped-def]
        logits, targets, weights=None, denominator=None, pos_weight=None
    ):
        return _any_binary(logits, targets, (weights, denominator, pos_weight))

    return implementation if has_options else plain


@overload(_losses.mse, jit_options=OPTIONS)
def _typed_mse(prediction, target, weights=None, denominator=None):  # type: ignore[no-untyped-def]
    _result("mse", ("prediction", "target"), prediction, target)
    has_options = _check_options("mse", weights, denominator)

    def plain(prediction, target, weights=None, denominator=None):  # type: ignore[no-untyped-def]
        return _mse(prediction, target)

    def implementation(  # type: ignore[no-untyped-def]
        prediction, target, weights=None, denominator=None
    ):
        return _any_mse(prediction, target, (weights, denominator))

    return implementation if has_options else plain

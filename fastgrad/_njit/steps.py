"""sgd_step, adam_step and clip_grad_norm in compiled code."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic, overload

from .._ops import clipping, optimizers
from . import given
from .given import OPTIONS


def _check(function: str, arrays: dict[str, Any], numbers: dict[str, Any]) -> None:
    with given.typing():
        param, grad, *state = (
            given.array(function, name, kind).reshape(-1)
            for name, kind in arrays.items()
            if name in ("param", "grad") or not given.is_none(kind)
        )
        names = [name for name in arrays if not given.is_none(arrays[name])][2:]
        optimizers._check_arrays(function, param, grad, dict(zip(names, state, strict=True)))
        for name, kind in numbers.items():
            if not isinstance(kind, types.Integer | types.Float | types.Boolean | float | bool):
                value = given.sample(kind)
                if not isinstance(value, int | float):
                    raise TypeError(f"{function}: {name} is {value!r}, not a number")


def _emit(
    function: str, context: Any, builder: Any, kinds: Any, values: Any, arrays: tuple[int, ...]
) -> Any:
    from .emit import Caller

    call = Caller(context, builder, function)
    for i, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        if i in arrays:
            call.array(kind, value)
        elif isinstance(kind, types.Omitted) and isinstance(kind.value, tuple):
            for one in kind.value:
                call.number(types.Omitted(one), None)
        elif isinstance(kind, types.BaseTuple):
            items: Any = kind
            for j, one in enumerate(items):
                call.number(one, builder.extract_value(value, j))
        else:
            call.number(kind, value)
    call.call()
    return context.get_dummy_value()


@intrinsic
def _sgd(
    typing_context: Any, param: Any, grad: Any, lr: Any, velocity: Any, momentum: Any,
    nesterov: Any, weight_decay: Any,
) -> Any:  # fmt: skip
    kinds = (param, grad, lr, velocity, momentum, nesterov, weight_decay)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _emit("sgd_step", context, builder, kinds, values, (0, 1, 3))

    return types.none(*kinds), codegen


@intrinsic
def _adam(
    typing_context: Any, param: Any, grad: Any, m: Any, v: Any, step: Any, lr: Any, betas: Any,
    eps: Any, weight_decay: Any, decoupled: Any,
) -> Any:  # fmt: skip
    kinds = (param, grad, m, v, step, lr, betas, eps, weight_decay, decoupled)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _emit("any_adam_step", context, builder, kinds, values, (0, 1, 2, 3))

    return types.none(*kinds), codegen


@overload(optimizers.sgd_step, jit_options=OPTIONS)
def _typed_sgd(  # type: ignore[no-untyped-def]
    param, grad, lr, velocity=None, momentum=0.0, nesterov=False, weight_decay=0.0
):
    _check(
        "sgd_step",
        {"param": param, "grad": grad, "velocity": velocity},
        {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov},
    )

    def implementation(  # type: ignore[no-untyped-def]
        param, grad, lr, velocity=None, momentum=0.0, nesterov=False, weight_decay=0.0
    ):
        return _sgd(param, grad, lr, velocity, momentum, nesterov, weight_decay)

    return implementation


@overload(optimizers.adam_step, jit_options=OPTIONS)
def _typed_adam(  # type: ignore[no-untyped-def]
    param, grad, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
    decoupled=False,
):  # fmt: skip
    with given.typing():
        if isinstance(step, types.Type) and not isinstance(step, types.Integer):
            value = given.sample(step)
            raise TypeError(f"adam_step: step is {value!r}; pass an integer of 1 or more")
        if isinstance(betas, types.Type) and not isinstance(betas, types.Omitted):
            if not isinstance(betas, types.BaseTuple) or len(betas) != 2:
                raise TypeError(f"adam_step: betas is {given.sample(betas)!r}; pass two numbers")
    _check(
        "adam_step",
        {"param": param, "grad": grad, "m": m, "v": v},
        {"lr": lr, "eps": eps, "weight_decay": weight_decay},
    )
    with given.typing():
        given.flag("adam_step", "decoupled", decoupled)

    def implementation(  # type: ignore[no-untyped-def]
        param, grad, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
        decoupled=False,
    ):  # fmt: skip
        return _adam(param, grad, m, v, step, lr, betas, eps, weight_decay, decoupled)

    return implementation


@intrinsic
def _clip(typing_context: Any, grad: Any, max_norm: Any) -> Any:
    """The norm; operands: max_norm, where the norm goes, arrays."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from .emit import Caller

        call = Caller(context, builder, "clip_grad_norm")
        call.number(max_norm, values[1])
        norm = call.place(types.float64)
        call.word(norm)
        if isinstance(grad, types.BaseTuple):
            items: Any = grad
            for i, kind in enumerate(items):
                call.array(kind, builder.extract_value(values[0], i))
        else:
            call.array(grad, values[0])
        call.call()
        return call.stored(types.float64, norm)

    return types.float64(grad, max_norm), codegen


@overload(clipping.clip_grad_norm, jit_options=OPTIONS)
def _typed_clip(grad, max_norm):  # type: ignore[no-untyped-def]
    function = "clip_grad_norm"
    with given.typing():
        if isinstance(grad, types.BaseTuple):
            for i, kind in enumerate(grad):
                optimizers.check_written(function, f"grad[{i}]", given.sample(kind))
        elif isinstance(grad, types.List | types.ListType):
            raise TypeError(f"{function}: grad is a list; in compiled code pass a tuple of arrays")
        else:
            optimizers.check_written(function, "grad", given.sample(grad))
        if not isinstance(max_norm, types.Integer | types.Float | types.Boolean):
            clipping.check_max_norm(function, given.sample(max_norm))

    def implementation(grad, max_norm):  # type: ignore[no-untyped-def]
        return _clip(grad, max_norm)

    return implementation

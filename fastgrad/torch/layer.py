"""A dense layer inside of autograd: x (..., in) · weightᵀ + bias -> y (..., out), and back.

weight is (out, in), as torch's are, and read where it lies. First derivatives are fastgrad's. The
derivative of a backward, and all of torch.func, are by torch's own operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import linear_backward, linear_forward
from .tensors import FLOATS, array, check

# What torch calls them, and whether fastgrad's backward wants Z: the others want Y.
ACTIVATIONS: dict[str | None, tuple[Callable[[Tensor], Tensor], bool]] = {
    None: (lambda z: z, False),
    "relu": (F.relu, False),
    "sigmoid": (torch.sigmoid, False),
    "tanh": (torch.tanh, False),
    "gelu": (F.gelu, True),
    "gelu_tanh": (lambda z: F.gelu(z, approximate="tanh"), True),
    "silu": (F.silu, True),
}
# No public function says so (2.14); autograd.Function asks this one. 0.03 us.
_is_transformed: Callable[[], bool] = torch._C._are_functorch_transforms_active


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """act(x·weightᵀ + bias): x (..., in), weight (out, in), bias (out,) -> y (..., out).

    As torch.nn.functional.linear, with an activation: None, "relu", "sigmoid", "tanh", "gelu" (by
    erf), "gelu_tanh" or "silu". Tensors on the CPU, all float32 or all float64, of any strides;
    none is copied. Y, dX, dW, db have the bits of fastgrad.linear_forward and linear_backward; of
    the gradients those are computed that somebody needs. A second derivative, and everything inside
    of torch.func's transforms (vmap, grad, jvp ...), is by torch's own operations.

    Raises RuntimeError, before anything is computed, for tensors that do not fit.
    """
    _check(x, weight, bias, activation)
    if _is_transformed():
        return _by_torch(x, weight, bias, activation)
    if torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return _Layer.apply(x, weight, bias, activation)  # type: ignore[no-any-return]
    return _forward(x, weight, bias, activation, None)


class Linear(torch.nn.Linear):  # type: ignore[misc]  # Any, where torch is not installed
    """torch.nn.Linear with an activation of its own: x (..., in_features) -> (..., out_features).

    Parameters, their names and first values are nn.Linear's: a state_dict of one loads into the
    other. activation: as ``linear`` takes it. On the CPU, float32 or float64.
    """

    __module__ = "fastgrad.torch"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        activation: str | None = None,
    ) -> None:
        where = torch.get_default_device() if device is None else torch.device(device)
        if where.type != "cpu":
            raise RuntimeError(f"Linear: device is {where}, fastgrad computes on the CPU")
        kind = torch.get_default_dtype() if dtype is None else dtype
        if kind not in FLOATS:
            raise RuntimeError(f"Linear: dtype is {kind}, expected torch.float32 or torch.float64")
        _check_activation("Linear", activation)
        super().__init__(in_features, out_features, bias, where, kind)
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        """act(input·weightᵀ + bias)."""
        return linear(input, self.weight, self.bias, self.activation)

    def extra_repr(self) -> str:
        """nn.Linear's, and the activation."""
        return f"{super().extra_repr()}, activation={self.activation!r}"


class _Layer(torch.autograd.Function):  # type: ignore[misc]
    """forward and setup_context in one: torch binds the arguments of two by inspect, 20 us."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None
    ) -> Tensor:
        z = None
        if ACTIVATIONS[activation][1]:
            z = torch.empty((*x.shape[:-1], len(weight)), dtype=x.dtype)
        y = _forward(x, weight, bias, activation, z)
        # the bias is for a second derivative through the activation alone
        kept = None if activation is None else y if z is None else z
        ctx.save_for_backward(x, weight, bias if activation is not None else None, kept)
        ctx.activation = activation
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, bias, kept = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        if _is_transformed():  # is_grads_batched
            return *_backward_by_torch(g, x, weight, bias, ctx.activation, needs), None
        if torch.is_grad_enabled():  # create_graph
            return *_Backward.apply(g, x, weight, bias, kept, ctx.activation, needs), None
        return *_backward(g, x, weight, kept, ctx.activation, needs), None


class _Backward(torch.autograd.Function):  # type: ignore[misc]
    """g, x, weight, bias -> dx, dweight, dbias, as an operation that has a derivative."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, kept: Tensor | None,
        activation: str | None, needs: tuple[bool, bool, bool],
    ) -> Any:  # fmt: skip
        ctx.save_for_backward(g, x, weight, bias)
        ctx.activation, ctx.needs = activation, needs
        return _backward(g, x, weight, kept, activation, needs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Of _backward_by_torch, as a function of g, x, weight and bias: ``kept`` follows from
        them. The derivative is made of operations that have one, and so on."""
        given = [t for t in ctx.saved_tensors if t is not None]

        def grads(g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
            found = _backward_by_torch(g, x, weight, bias, ctx.activation, ctx.needs)
            return tuple(d for d in found if d is not None)

        _, pull = torch.func.vjp(grads, *given)
        found = pull(tuple(c for c, n in zip(cotangents, ctx.needs, strict=True) if n))
        return *found, *[None] * (7 - len(found))


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: Any, z: Tensor | None
) -> Tensor:
    y = linear_forward(
        array(x), array(weight).T, None if bias is None else array(bias), activation, None,
        None if z is None else z.numpy(),
    )  # fmt: skip
    return torch.from_numpy(y)


def _backward(
    g: Tensor, x: Tensor, weight: Tensor, kept: Tensor | None, activation: Any, needs: Any
) -> tuple[Tensor | None, ...]:
    """dW is written as weight is laid out, so that torch can keep it as it is."""
    w = array(weight)
    saved = None if kept is None else array(kept)
    dw = np.empty_like(w) if needs[1] else None
    found = linear_backward(
        array(g), array(x), w.T, activation, saved, saved, needs,
        (None, None if dw is None else dw.T, None),
    )  # fmt: skip
    return tuple(None if d is None else torch.from_numpy(d) for d in (found.x, dw, found.bias))


def _by_torch(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    return ACTIVATIONS[activation][0](F.linear(x, weight, bias))


def _backward_by_torch(
    g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, needs: Any
) -> tuple[Tensor | None, ...]:
    """The gradients that are needed. A bias that only moves by its sum need not be known."""
    row = g.new_zeros(len(weight)) if bias is None else bias
    _, pull = torch.func.vjp(lambda a, b, c: _by_torch(a, b, c, activation), x, weight, row)
    return tuple(d if n else None for d, n in zip(pull(g), needs, strict=True))


def _check(x: Any, weight: Any, bias: Any, activation: Any) -> None:
    check("linear", "x", x)
    check("linear", "weight", weight)
    if bias is not None:
        check("linear", "bias", bias)
    _check_activation("linear", activation)
    if not x.dtype is weight.dtype is (weight if bias is None else bias).dtype:
        _mismatch("dtypes differ; convert them to one", x, weight, bias)
    if weight.ndim != 2:
        _mismatch(f"weight has {weight.ndim} dimensions, expected 2, (out, in)", x, weight, bias)
    if x.ndim == 0:
        _mismatch("x has no dimensions, expected (..., in)", x, weight, bias)
    if x.shape[-1] != weight.shape[1]:
        what = f"x has {x.shape[-1]} columns but weight, (out, in), has {weight.shape[1]}"
        _mismatch(what, x, weight, bias)
    if bias is not None and bias.shape != weight.shape[:1]:
        what = f"bias has shape {tuple(bias.shape)} but weight, (out, in), has {len(weight)} rows"
        _mismatch(what, x, weight, bias)


def _check_activation(function: str, name: Any) -> None:
    if not (name is None or isinstance(name, str)) or name not in ACTIVATIONS:
        known = ", ".join(repr(key) for key in ACTIVATIONS)
        raise RuntimeError(f"{function}: activation is {name!r:.60}, expected one of {known}")


def _mismatch(what: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    given = {"x": x, "weight": weight, "bias": bias}
    shown = [f"{n} {tuple(t.shape)} {t.dtype}" for n, t in given.items() if t is not None]
    raise RuntimeError(f"linear: {what} ({', '.join(shown)})")

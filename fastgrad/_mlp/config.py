"""What a model is made with: settings in, checked once, one frozen value out.

A loss or an activation is known to models, files and the command line by its row in a table here,
an optimizer by its row in _ops/optimizers.py.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._draws import check_seed
from .._kernels.formulas import activations
from .._ops import checks, losses, numbers
from .._ops.linear import ActivationName
from .._ops.numbers import shown
from .._ops.optimizers import OPTIMIZERS, Optimizer, check_in_dtype

Array = NDArray[Any]
# a name for the hidden layers, or one a layer
Activations = ActivationName | None | tuple[ActivationName | None, ...]
LossName = Literal["softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"]

ACTIVATIONS: dict[Any, bool] = {  # name -> its backward needs the pre-activation
    None: False,
    **{row.name: row.saved == "preactivation" for row in activations.TABLE},
}
LOSSES: dict[str, Callable[..., float]] = {  # logits, targets, gradient -> mean
    "softmax_cross_entropy": losses._softmax_cross_entropy,
    "binary_cross_entropy_with_logits": losses._binary_cross_entropy_with_logits,
    "mse": losses._mse,
}
_MAX_SIZE = 2**58  # parameters: an array of them still has less than 2**63 bytes


@dataclass(frozen=True)
class Config:
    """The settings of a model, as MLP names them; equal ones make equal models."""

    sizes: tuple[int, ...]
    activation: Activations
    loss: LossName
    optimizer: Optimizer
    dtype: np.dtype[Any]
    seed: int
    label_smoothing: float = 0.0
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        sizes = _check_sizes(self.sizes)
        checked: dict[str, Any] = {
            "sizes": sizes,
            "activation": _check_activation(self.activation, len(sizes) - 1),
            "loss": _check_name("loss", self.loss, LOSSES),
            "optimizer": _check_optimizer(self.optimizer),
            "dtype": checks.float_dtype("MLP", self.dtype),
            "seed": check_seed(self.seed, "MLP"),
            "label_smoothing": _check_smoothing(self.label_smoothing, self.loss),
            "max_grad_norm": _check_max_norm(self.max_grad_norm),
        }
        optimizer, dtype = self.optimizer, checked["dtype"]
        name, eps = type(optimizer).__name__, getattr(optimizer, "eps", 1.0)
        check_in_dtype(f"MLP: {name}", dtype, lr=optimizer.lr, eps=eps)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of weight 0, weight 1, ...: (inputs, outputs)."""
        return list(itertools.pairwise(self.sizes))

    def activation_of(self, layer: int) -> ActivationName | None:
        """The last layer has none, where one name is given."""
        if isinstance(self.activation, tuple):
            return self.activation[layer]
        return self.activation if layer < len(self.sizes) - 2 else None


SETTINGS = tuple(field.name for field in fields(Config))


def _check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        if isinstance(sizes, set | frozenset | dict):  # of no order
            raise TypeError
        checked = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(
            f"MLP: sizes is {shown(sizes)}; pass integers, inputs first, e.g. (64, 10)"
        ) from None
    if len(checked) < 2 or min(checked) < 1:
        raise ValueError(f"MLP: sizes is {shown(checked)}; pass two or more sizes of 1 or more")
    if sum(a * b + b for a, b in itertools.pairwise(checked)) > _MAX_SIZE:
        raise ValueError(f"MLP: sizes is {shown(checked)}; no memory holds so many parameters")
    return checked


def _check_activation(given: object, layers: int) -> object:
    if not isinstance(given, list | tuple):
        return _check_name("activation", given, ACTIVATIONS)
    if len(given) != layers:
        raise ValueError(
            f"MLP: activation has {len(given)} entries but sizes make {layers} layers; pass one "
            f"a layer, the last one's too (None for none), or a name for the hidden layers"
        )
    return tuple(_check_name(f"activation[{i}]", name, ACTIVATIONS) for i, name in enumerate(given))


def _check_name(argument: str, name: object, table: dict[Any, Any]) -> object:
    if not (name is None or isinstance(name, str)) or name not in table:
        known = ", ".join(repr(key) for key in table)
        raise ValueError(f"MLP: {argument} is {shown(name)}; pass one of {known}")
    return name


def _check_optimizer(optimizer: object) -> object:
    if not isinstance(optimizer, tuple(OPTIMIZERS.values())):
        known = " or ".join(f"{name}(...)" for name in OPTIMIZERS)
        raise TypeError(f"MLP: optimizer is {shown(optimizer)}; pass {known}")
    return optimizer


def _check_smoothing(value: float, loss: str) -> float:
    smoothing = losses.check_smoothing("MLP", value)
    if smoothing and loss != "softmax_cross_entropy":
        raise ValueError(f"MLP: label_smoothing is {smoothing}, but loss {loss!r} has no labels")
    return smoothing


def _check_max_norm(value: float | None) -> float | None:
    norm = None if value is None else numbers.at_least_0("MLP", "max_grad_norm", value)
    if norm == 0:
        raise ValueError("MLP: max_grad_norm is 0; it must be above 0, or None for no limit")
    return norm

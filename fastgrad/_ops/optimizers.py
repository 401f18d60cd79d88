"""Optimizer steps: parameters and gradients in, parameters changed in place.

Every operation is one correctly rounded float operation an element (+ - * / sqrt), in the order
written here, so a step has the same bits on every CPU and for any split of the array. The kernels
are in _kernels/layer/optimizers.py; reference.losses states them in numpy.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins
from .._kernels.layer import args
from .._kernels.layer.optimizers import adam, sgd
from .._kernels.runtime.registry import Kernel
from . import checks, numbers
from .kernel_call import bits, data, run
from .numbers import shown

Array = NDArray[Any]
_MOST_STEPS = 2**63 - 1  # b**step is 0 long before
_NORMAL = float(np.finfo(np.float32).tiny)  # and above it: never 0 in a dtype


@dataclass(frozen=True)
class SGD:
    """Settings of sgd_step."""

    __module__ = "fastgrad"  # its public place: what a pickle names

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _replace(self, _check_sgd("SGD", self.lr, self.momentum, self.nesterov, self.weight_decay))

    @property
    def slots(self) -> int:
        """Arrays of state, each the size of the parameters."""
        return 1 if self.momentum else 0


@dataclass(frozen=True)
class Adam:
    """Settings of adam_step whose weight decay is added to the gradient; see AdamW."""

    __module__ = "fastgrad"

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        _replace(self, _check_adam(name, self.lr, self.betas, self.eps, self.weight_decay))
        if self.weight_decay and not self.decoupled:
            _tell_of_adamw()

    @property
    def slots(self) -> int:
        return 2

    @property
    def decoupled(self) -> bool:
        return False

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"decoupled": self.decoupled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Settings of 0.1 do not say it: their decay was decoupled."""
        state = dict(state)
        if state.pop("decoupled", True) and state["weight_decay"]:
            object.__setattr__(self, "__class__", AdamW)
        vars(self).update(state)


@dataclass(frozen=True)
class AdamW(Adam):
    """Settings of adam_step whose weight decay is decoupled (Loshchilov & Hutter 2019)."""

    __module__ = "fastgrad"

    @property
    def decoupled(self) -> bool:
        return True


_has_told = False


def _tell_of_adamw() -> None:
    """Once in a process, for those who know Adam of 0.1."""
    global _has_told
    if not _has_told:
        _has_told = True
        warnings.warn(
            "fastgrad: Adam adds weight_decay to the gradient, as torch.optim.Adam does; until 0.1 "
            "its decay was decoupled: AdamW is that optimizer",
            FutureWarning,
            stacklevel=4,  # who made the settings
        )


def untold(kind: type[Optimizer], settings: dict[str, Any]) -> Optimizer:
    """Settings that nobody wrote in Python, of a file or of options: nobody is told of AdamW."""
    global _has_told
    before, _has_told = _has_told, True
    try:
        return kind(**settings)
    finally:
        _has_told = before


Optimizer = SGD | Adam
# by the names in files
OPTIMIZERS: dict[str, type[Optimizer]] = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}


def sgd_step(
    param: Array,
    grad: Array,
    lr: float,
    velocity: Array | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """param, grad, velocity: one shape and dtype (float32 or float64); param, velocity change.

    g = grad + weight_decay * param;  velocity = momentum * velocity + g;
    d = g + momentum * velocity if nesterov else velocity;  param = param - lr * d.
    Without momentum d = g and velocity is left alone (Sutskever et al. 2013, as PyTorch writes it).
    A velocity below t, the smallest normal number, becomes +0.0. With weight decay so does param
    where |param| <= min(sqrt(t), max(|param before|, t)), as products with it would be slow;
    sqrt(t) is 1.1e-19 in float32 and 1.5e-154 in float64.
    lr may be 0; one above 0 that is 0 in the dtype is a ValueError.
    """
    if builtins.sgd_step(param, grad, lr, velocity, momentum, nesterov, weight_decay):
        return
    lr, momentum, nesterov, weight_decay = _check_sgd(
        "sgd_step", lr, momentum, nesterov, weight_decay
    )
    if momentum and velocity is None:
        raise ValueError(
            f"sgd_step: momentum is {momentum} but velocity is missing; pass np.zeros_like(param)"
        )
    state = {} if velocity is None or not momentum else {"velocity": velocity}
    grad = _check_arrays("sgd_step", param, grad, state)
    check_in_dtype("sgd_step", param.dtype, lr=lr)
    _sgd(lr, momentum, nesterov, weight_decay, param, grad, *state.values())


def adam_step(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """param, grad, m, v: one shape and dtype (float32 or float64); param, m, v change.

    step: 1, 2, ...  Where weight_decay is not 0 and not decoupled, g = grad + weight_decay*param.
    m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g;  where it is decoupled,
    param = param - (lr*weight_decay)*param;  then
    param = param - lr/(1-b1**step) * m / (sqrt(v)/sqrt(1-b2**step) + eps).
    Kingma & Ba 2015; decoupled weight decay, AdamW: Loshchilov & Hutter 2019.

    m and v below t, the smallest normal number, become +0.0; a square below t adds nothing to v.
    With weight decay param becomes +0.0 where |param| <= min(sqrt(t), max(|param before|, v, t)),
    as products with it would be slow; sqrt(t) is 1.1e-19 in float32 and 1.5e-154 in float64.
    eps and an lr above 0 must not be 0 in the dtype; for float32, 1e-19 or more is a sensible eps.
    In float32, a decoupled decay of lr*weight_decay below 6e-8 is lost where it is rounded.
    """
    if type(betas) is tuple and len(betas) == 2:
        if builtins.adam_step(param, grad, m, v, step, lr, *betas, eps, weight_decay, decoupled):
            return
    lr, betas, eps, weight_decay = _check_adam("adam_step", lr, betas, eps, weight_decay)
    try:
        count = operator.index(step)
    except TypeError:
        raise TypeError(f"adam_step: step is {shown(step)}; pass an integer of 1 or more") from None
    if count < 1:
        raise ValueError(f"adam_step: step is {shown(count)}; the first step is 1")
    decoupled = checks.flag("adam_step", "decoupled", decoupled)
    grad = _check_arrays("adam_step", param, grad, {"m": m, "v": v})
    check_in_dtype("adam_step", param.dtype, lr=lr, eps=eps)
    _adam(count, lr, betas, eps, weight_decay, decoupled, param, grad, m, v)


def _sgd(lr: float, momentum: float, nesterov: bool, weight_decay: float, *arrays: Array) -> None:
    words = (bits(lr), bits(momentum), int(bool(nesterov)), bits(weight_decay))

    def settings(param: int, grad: int, velocity: int = 0) -> args.Sgd:
        return args.Sgd(arrays[0].size, param, grad, velocity, *words)

    _in_place(sgd, arrays, settings)


def _adam(
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    *arrays: Array,
) -> None:
    numbers = (lr, *betas, eps, weight_decay)
    words = (*map(bits, numbers), int(decoupled))

    def settings(param: int, grad: int, m: int, v: int) -> args.Adam:
        return args.Adam(arrays[0].size, param, grad, m, v, min(step, _MOST_STEPS), *words)

    _in_place(adam, arrays, settings)


def _in_place(kernel: Kernel, arrays: tuple[Array, ...], settings: Callable[..., Any]) -> None:
    """A kernel on flat arrays: param, grad, state; on copies of them where they are not flat."""
    dtype = arrays[0].dtype
    if _are_flat(arrays):
        run(kernel, dtype, settings(*map(data, arrays)))
        return
    copies = [np.array(a, order="C") for a in arrays]  # elementwise: the bits are the same
    run(kernel, dtype, settings(*map(data, copies)))
    for a, changed in zip(arrays[:1] + arrays[2:], copies[:1] + copies[2:], strict=True):
        a[...] = changed


def _are_flat(arrays: Sequence[Array]) -> bool:
    """Whether elements stand in one order without gaps, the same in all."""
    return all(a.flags.c_contiguous for a in arrays) or all(a.flags.f_contiguous for a in arrays)


def _check_sgd(
    caller: str, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> tuple[float, float, bool, float]:
    """The settings as Python's numbers, so that they compare and save alike."""
    lr = numbers.at_least_0(caller, "lr", lr)
    momentum = numbers.at_least_0(caller, "momentum", momentum, below=1)
    nesterov = checks.flag(caller, "nesterov", nesterov)
    weight_decay = numbers.at_least_0(caller, "weight_decay", weight_decay)
    if nesterov and not momentum:
        raise ValueError(f"{caller}: nesterov needs momentum above 0, but momentum is {momentum}")
    return lr, momentum, nesterov, weight_decay


def _check_adam(
    caller: str, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> tuple[float, tuple[float, float], float, float]:
    """The settings as Python's numbers, so that they compare and save alike."""
    lr = numbers.at_least_0(caller, "lr", lr)
    try:
        if isinstance(betas, set | frozenset | dict):  # of no order
            raise TypeError
        b1, b2 = betas
    except (TypeError, ValueError):
        raise ValueError(f"{caller}: betas is {shown(betas)}; pass two numbers") from None
    b1 = numbers.at_least_0(caller, "betas[0]", b1, below=1)
    b2 = numbers.at_least_0(caller, "betas[1]", b2, below=1)
    eps = numbers.at_least_0(caller, "eps", eps)
    if eps == 0:
        raise ValueError(f"{caller}: eps is {eps}; it must be above 0")
    return lr, (b1, b2), eps, numbers.at_least_0(caller, "weight_decay", weight_decay)


def checked_rate(caller: str, name: str, value: Any, dtype: np.dtype[Any]) -> float:
    """A learning rate that a model is given: 0, or above 0 in its dtype too."""
    rate = numbers.at_least_0(caller, name, value)
    check_in_dtype(caller, dtype, **{name: rate})
    return rate


def check_in_dtype(caller: str, dtype: np.dtype[Any], **values: float) -> None:
    """Refuse what is above 0 and becomes 0 in the dtype."""
    for name, value in values.items():
        if 0 < value < _NORMAL and float(dtype.type(value)) == 0:
            raise ValueError(
                f"{caller}: {name} is {value}, which is 0 in {dtype}; pass a larger one"
            )


def _replace(settings: SGD | Adam, values: tuple[object, ...]) -> None:
    for name, value in zip(vars(settings), values, strict=True):
        object.__setattr__(settings, name, value)


def _check_arrays(caller: str, param: Array, grad: Array, state: dict[str, Array]) -> Array:
    """grad, as an array."""
    check_written(caller, "param", param)
    shape, dtype = param.shape, param.dtype
    grad = checks.array(caller, "grad", grad)
    if grad.dtype != dtype:
        raise TypeError(
            f"{caller}: grad has dtype {grad.dtype} but param has {dtype}; "
            f"pass grad.astype(np.{dtype})"
        )
    if grad.shape != shape:
        raise ValueError(f"{caller}: grad has shape {grad.shape} but param has shape {shape}")
    for name, value in state.items():
        remedy = "start with np.zeros_like(param)"
        if not checks.is_array(value):
            what = f"{name} is {checks.kind(value)}, expected a numpy.ndarray to write"
            raise TypeError(f"{caller}: {what}; {remedy}")
        if value.dtype != dtype:
            raise TypeError(
                f"{caller}: {name} has dtype {value.dtype} but param has {dtype}; {remedy}"
            )
        if value.shape != shape:
            raise ValueError(
                f"{caller}: {name} has shape {value.shape} but param has shape {shape}; {remedy}"
            )
        checks.output(caller, name, value, shape, dtype)
    checks.distinct_outputs(caller, param=param, grad=grad, **state)
    return grad


def check_written(caller: str, name: str, value: Array) -> None:
    """``value`` is an array of floats that can be written."""
    if not checks.is_array(value):
        what = f"{name} is {checks.kind(value)}, expected a numpy.ndarray, "
        if caller == "clip_grad_norm":
            what += "or a list or tuple of them, "
        raise TypeError(f"{caller}: {what}as it is changed in place")
    dtype = value.dtype
    if dtype != np.float32 and dtype != np.float64:  # equal only in native byte order
        raise TypeError(
            f"{caller}: {name} has dtype {dtype}, expected float32 or float64, as it is "
            f"changed in place; keep it as {name}.astype(np.float32)"
        )
    checks.output(caller, name, value, value.shape, dtype)

"""Optimizer steps: parameters and gradients in, parameters changed in place.

Every operation is one correctly rounded float operation an element (numpy's + - * / sqrt), in the
order written here, so a step has the same bits on every CPU and for any split of the array.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate

Array = NDArray[Any]


@dataclass(frozen=True)
class SGD:
    """Settings of sgd_step."""

    lr: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_sgd("SGD", self.lr, self.momentum, self.nesterov, self.weight_decay)
        _plain(self, nesterov=bool(self.nesterov))

    @property
    def slots(self) -> int:
        """Arrays of state, each the size of the parameters."""
        return 1 if self.momentum else 0


@dataclass(frozen=True)
class Adam:
    """Settings of adam_step."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_adam("Adam", self.lr, self.betas, self.eps, self.weight_decay)
        b1, b2 = self.betas
        _plain(self, betas=(float(b1), float(b2)))

    @property
    def slots(self) -> int:
        return 2


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
    """
    _check_sgd("sgd_step", lr, momentum, nesterov, weight_decay)
    if momentum and velocity is None:
        raise ValueError(f"sgd_step: momentum is {momentum} but velocity is missing; pass zeros")
    state = {} if velocity is None or not momentum else {"velocity": velocity}
    _check_arrays("sgd_step", param, grad, state)
    settings = SGD(lr, momentum, nesterov, weight_decay)
    update(settings, param, grad, tuple(state.values()), 1, np.empty_like(param))


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
) -> None:
    """param, grad, m, v: one shape and dtype (float32 or float64); param, m, v change.

    step: 1, 2, ...  m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g;  where weight_decay is not 0,
    param = param - (lr*weight_decay)*param;  then
    param = param - lr/(1-b1**step) * m / (sqrt(v)/sqrt(1-b2**step) + eps).
    Kingma & Ba 2015; decoupled weight decay: Loshchilov & Hutter 2019.
    """
    _check_adam("adam_step", lr, betas, eps, weight_decay)
    try:
        count = operator.index(step)
    except TypeError:
        raise TypeError(f"adam_step: step is {step!r}; pass an integer of 1 or more") from None
    if count < 1:
        raise ValueError(f"adam_step: step is {count}; the first step is 1")
    _check_arrays("adam_step", param, grad, {"m": m, "v": v})
    settings = Adam(lr, betas, eps, weight_decay)
    update(settings, param, grad, (m, v), count, np.empty_like(param))


def update(
    settings: SGD | Adam,
    param: Array,
    grad: Array,
    state: tuple[Array, ...],
    step: int,
    work: Array,
) -> None:
    """One step on checked arrays; work: scratch of the same shape; state: settings.slots arrays."""
    with np.errstate(all="ignore"):
        if isinstance(settings, SGD):
            _sgd(settings, param, grad, state, work)
        else:
            _adam(settings, param, grad, state, step, work)


def _sgd(s: SGD, param: Array, grad: Array, state: tuple[Array, ...], work: Array) -> None:
    number = param.dtype.type
    direction = grad
    if s.weight_decay:
        np.multiply(param, number(s.weight_decay), out=work)
        direction = np.add(grad, work, out=work)
    if s.momentum:
        (velocity,) = state
        velocity *= number(s.momentum)
        velocity += direction
        if s.nesterov:
            direction = np.add(direction, velocity * number(s.momentum), out=work)
        else:
            direction = velocity
    param -= np.multiply(direction, number(s.lr), out=work)


def _adam(
    s: Adam, param: Array, grad: Array, state: tuple[Array, ...], step: int, work: Array
) -> None:
    number = param.dtype.type
    m, v = state
    b1, b2 = s.betas
    m *= number(b1)
    m += np.multiply(grad, number(1 - b1), out=work)
    v *= number(b2)
    np.multiply(grad, number(1 - b2), out=work)
    v += np.multiply(work, grad, out=work)
    if s.weight_decay:
        param -= np.multiply(param, number(s.lr * s.weight_decay), out=work)
    np.sqrt(v, out=work)
    work /= number(math.sqrt(1 - _power(b2, step)))
    work += number(s.eps)
    np.divide(m, work, out=work)
    work *= number(s.lr / (1 - _power(b1, step)))
    param -= work


def _power(base: float, exponent: int) -> float:
    """base**exponent by squaring: C's pow differs in its last bit between platforms."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def _check_sgd(
    caller: str, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    _check_number(caller, "lr", lr)
    _check_number(caller, "momentum", momentum, below=1)
    _check_number(caller, "weight_decay", weight_decay)
    if nesterov and not momentum:
        raise ValueError(f"{caller}: nesterov needs momentum above 0, but momentum is {momentum}")


def _check_adam(
    caller: str, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> None:
    _check_number(caller, "lr", lr)
    try:
        b1, b2 = betas
    except (TypeError, ValueError):
        raise ValueError(f"{caller}: betas is {betas!r}; pass two numbers") from None
    _check_number(caller, "betas[0]", b1, below=1)
    _check_number(caller, "betas[1]", b2, below=1)
    _check_number(caller, "eps", eps)
    _check_number(caller, "weight_decay", weight_decay)


def _plain(settings: SGD | Adam, **given: object) -> None:
    """Numbers of any type become Python's, so that settings compare and save alike."""
    for name, value in vars(settings).items():
        object.__setattr__(settings, name, given[name] if name in given else float(value))


def _check_number(caller: str, name: str, value: float, below: float = math.inf) -> None:
    try:
        ok = 0 <= value < below
    except (TypeError, ValueError):
        raise TypeError(f"{caller}: {name} is {value!r}, not a number") from None
    if not ok:
        limit = "finite" if below == math.inf else f"below {below}"
        raise ValueError(f"{caller}: {name} is {value}; it must be 0 or more and {limit}")


def _check_arrays(caller: str, param: Array, grad: Array, state: dict[str, Array]) -> None:
    shape, dtype = _validate.array(caller, "param", param).shape, param.dtype
    if dtype.name not in ("float32", "float64") or not dtype.isnative:
        raise TypeError(f"{caller}: param has dtype {dtype}, expected float32 or float64")
    if _validate.array(caller, "grad", grad).dtype != dtype:
        raise TypeError(f"{caller}: grad has dtype {grad.dtype} but param has {dtype}")
    if grad.shape != shape:
        raise ValueError(f"{caller}: grad has shape {grad.shape} but param has shape {shape}")
    for name, value in {"param": param, **state}.items():
        _validate.output(caller, name, value, shape, dtype)
    _validate.distinct_outputs(caller, param=param, grad=grad, **state)

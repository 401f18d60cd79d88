"""Learning rates by epoch: settings in, a function ``epoch (0, 1, ...) -> learning rate`` out.

Only + - * / on floats: C's cos and pow have other bits on other platforms.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

Schedule = Callable[[int], float]
_TERMS = 11  # of the series below: the first one left out is under 2**-54 at pi/2


def cosine_schedule(lr: float, epochs: int, warmup: int = 0) -> Schedule:
    """lr * (1 + cos(pi * t)) / 2, t from 0 towards 1 over the epochs after the warm-up, then 0.

    In the ``warmup`` epochs before, the rate rises by lr / (warmup + 1) an epoch. Loshchilov &
    Hutter 2017, without restarts.
    """
    caller = "cosine_schedule"
    lr = _number(caller, "lr", lr)
    epochs, warmup = _count(caller, "epochs", epochs, 1), _count(caller, "warmup", warmup, 0)
    if warmup >= epochs:
        raise ValueError(f"{caller}: warmup is {warmup}; it must be below epochs, {epochs}")

    def rate(epoch: int) -> float:
        if epoch < warmup:
            return lr * ((epoch + 1) / (warmup + 1))
        if epoch >= epochs:
            return 0.0
        return lr * ((1.0 + _cos_pi((epoch - warmup) / (epochs - warmup))) / 2.0)

    return rate


def step_schedule(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """lr * factor ** (epoch // every): after each ``every`` epochs the rate is multiplied once."""
    caller = "step_schedule"
    lr, factor = _number(caller, "lr", lr), _number(caller, "factor", factor)
    every = _count(caller, "every", every, 1)

    return lambda epoch: lr * _power(factor, epoch // every)


def _power(base: float, exponent: int) -> float:
    """base**exponent by squaring."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def _cos_pi(t: float) -> float:
    """cos(pi * t) for t in [0, 1], as the sine of z = pi * (1/2 - t): z - z**3/3! + z**5/5! ..."""
    z = math.pi * (0.5 - t)
    total = 0.0
    for n in range(2 * _TERMS - 1, 0, -2):  # Horner: 1 - z*z/(2*3) * (1 - z*z/(4*5) * ...)
        total = 1.0 - z * z / ((n + 1) * (n + 2)) * total
    return z * total


def _number(caller: str, name: str, value: float) -> float:
    try:
        ok = 0 <= value < math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{caller}: {name} is {value!r}, not a number") from None
    if not ok:
        raise ValueError(f"{caller}: {name} is {value}; it must be 0 or more and finite")
    return float(value)


def _count(caller: str, name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{caller}: {name} is {value!r}; pass an integer") from None
    if number < least:
        raise ValueError(f"{caller}: {name} is {number}; it must be {least} or more")
    return number

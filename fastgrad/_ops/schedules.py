"""Learning rates by epoch: settings in, a function ``epoch (0, 1, ...) -> learning rate`` out.

Only + - * / on floats: C's cos and pow have other bits on other platforms.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..reference.losses import power
from .numbers import at_least_0, count

Schedule = Callable[[int], float]
_TERMS = 11  # of the series below: the first one left out is under 2**-54 at pi/2


def cosine_schedule(lr: float, epochs: int, warmup: int = 0) -> Schedule:
    """lr * (1 + cos(pi * t)) / 2, t from 0 towards 1 over the epochs after the warm-up, then 0.

    In the ``warmup`` epochs before, the rate rises by lr / (warmup + 1) an epoch. Loshchilov &
    Hutter 2017, without restarts.

    >>> rate = cosine_schedule(0.4, epochs=6, warmup=1)
    >>> [round(rate(epoch), 3) for epoch in range(7)]
    [0.2, 0.4, 0.362, 0.262, 0.138, 0.038, 0.0]
    """
    caller = "cosine_schedule"
    lr = at_least_0(caller, "lr", lr)
    epochs, warmup = count(caller, "epochs", epochs, 1), count(caller, "warmup", warmup, 0)
    if warmup >= epochs:
        raise ValueError(f"{caller}: warmup is {warmup}; it must be below epochs, {epochs}")

    def rate(epoch: int) -> float:
        epoch = count(caller, "epoch", epoch, 0)
        if epoch < warmup:
            return lr * ((epoch + 1) / (warmup + 1))
        if epoch >= epochs:
            return 0.0
        return lr * ((1.0 + _cos_pi((epoch - warmup) / (epochs - warmup))) / 2.0)

    return rate


def step_schedule(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """lr * factor ** (epoch // every): after each ``every`` epochs the rate is multiplied once.

    >>> rate = step_schedule(0.8, every=2, factor=0.5)
    >>> [rate(epoch) for epoch in range(6)]
    [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    """
    caller = "step_schedule"
    lr, factor = at_least_0(caller, "lr", lr), at_least_0(caller, "factor", factor)
    every = count(caller, "every", every, 1)

    return lambda epoch: lr * power(factor, count(caller, "epoch", epoch, 0) // every)


def _cos_pi(t: float) -> float:
    """cos(pi * t) for t in [0, 1], as the sine of z = pi * (1/2 - t): z - z**3/3! + z**5/5! ..."""
    z = math.pi * (0.5 - t)
    total = 0.0
    for n in range(2 * _TERMS - 1, 0, -2):  # Horner: 1 - z*z/(2*3) * (1 - z*z/(4*5) * ...)
        total = 1.0 - z * z / ((n + 1) * (n + 2)) * total
    return z * total

"""scikit-learn's stochastic optimizers: gradients of a network in, changed parameters out.

They are fastgrad's steps with settings of the moment. A step takes the decay, alpha / rows, of the
coefs_; the intercepts_ have none. ``unit``: what the network's gradients are too large by, see
objective.py: then so are the state, the decay and epsilon, and the rate is as much smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import MLP, adam_step, sgd_step
from .network import gradients, parameters

Array = NDArray[Any]
Step = Callable[[float], None]


class AdamOptimizer:
    """Kingma & Ba 2015, the form before their section 2.1's end, whose epsilon is added to the
    square root of the uncorrected second moment."""

    def __init__(self, net: MLP, settings: Any) -> None:
        self.learning_rate = float(settings.learning_rate_init)
        self.betas = (float(settings.beta_1), float(settings.beta_2))
        self.epsilon = float(settings.epsilon)
        self.steps, self.power = 0, 1.0  # power: beta_2**steps, by products: libm's pow differs
        self.first, self.second = _zeros(net), _zeros(net)

    def bind(self, net: MLP, unit: float) -> Step:
        """A function that does a step of the network."""
        self.first, self.second = _written(self.first), _written(self.second)
        rows = list(zip(parameters(net), gradients(net), self.first, self.second, strict=True))
        count = len(net.weights)
        coefs, intercepts = rows[:count], rows[count:]
        rate, betas, epsilon = self.learning_rate, self.betas, self.epsilon * unit

        def step(decay: float) -> None:
            self.steps += 1
            self.power *= betas[1]
            t, decay = self.steps, decay * unit
            eps = epsilon / math.sqrt(1 - self.power)  # ours is added to the corrected root
            for w, g, m, v in coefs:
                adam_step(w, g, m, v, t, rate, betas, eps, decay)
            for b, g, m, v in intercepts:
                adam_step(b, g, m, v, t, rate, betas, eps)

        return step

    def epoch_ends(self, samples: int) -> None:
        """samples: seen so far."""

    def stops(self) -> str:
        """Asked when nothing has improved: how it says that it ends, or ""."""
        return "Stopping."


class SgdOptimizer:
    """Momentum is as in Sutskever et al. 2013: a velocity holds the rates of the steps behind it.

    Ours (sgd_step) are without: on a change of the rate they are divided by it.
    """

    def __init__(self, net: MLP, settings: Any) -> None:
        self.learning_rate = self.first_rate = float(settings.learning_rate_init)
        self.schedule, self.power_t = settings.learning_rate, float(settings.power_t)
        # ours is to be below 1
        self.momentum = min(float(settings.momentum), float(np.nextafter(net.dtype.type(1), 0)))
        self.nesterov = bool(settings.nesterovs_momentum) and self.momentum > 0
        self.velocities = _zeros(net)

    def bind(self, net: MLP, unit: float) -> Step:
        """A function that does a step of the network."""
        self.velocities = _written(self.velocities)
        rows = list(zip(parameters(net), gradients(net), self.velocities, strict=True))
        count = len(net.weights)
        coefs, intercepts = rows[:count], rows[count:]
        momentum, nesterov = self.momentum, self.nesterov
        least = float(np.finfo(net.dtype).tiny)

        def step(decay: float) -> None:
            rate, decay = self.learning_rate / unit, decay * unit
            rate = rate if rate > least else 0.0  # sgd_step refuses what is 0 in the dtype
            for w, g, v in coefs:
                sgd_step(w, g, rate, v, momentum, nesterov, decay)
            for b, g, v in intercepts:
                sgd_step(b, g, rate, v, momentum, nesterov)

        return step

    def epoch_ends(self, samples: int) -> None:
        """samples: seen so far."""
        if self.schedule == "invscaling":
            self._change(self.first_rate / (samples + 1) ** self.power_t)

    def stops(self) -> str:
        """Asked when nothing has improved: how it says that it ends, or ""."""
        if self.schedule != "adaptive":
            return "Stopping."
        if self.learning_rate <= 1e-6:
            return "Learning rate too small. Stopping."
        self._change(self.learning_rate / 5)
        return ""

    def _change(self, rate: float) -> None:
        if rate > 0 and self.momentum:
            for velocity in self.velocities:
                velocity *= self.learning_rate / rate
        self.learning_rate = rate


Optimizer = AdamOptimizer | SgdOptimizer
OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": AdamOptimizer, "sgd": SgdOptimizer}


def _zeros(net: MLP) -> list[Array]:
    return [np.zeros_like(a) for a in parameters(net)]


def _written(state: list[Array]) -> list[Array]:
    """Copies of what joblib has mapped from a file."""
    return [a if a.flags.writeable else np.array(a) for a in state]

"""A model's arrays: settings in; weights, biases, gradients and optimizer state out.

Parameters, gradients and each array of the optimizer are ONE flat array, in which weight 0, bias 0,
weight 1, ... start on cache lines, with zeros between them. What goes in and out, to files and
users, is flat and has no gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._draws import INIT, stream, uniform
from .._ops import checks
from .._ops.numbers import shown
from .config import Config

Array = NDArray[Any]
ALIGN = 64  # bytes: a cache line
_DRAWS = 1 << 20  # initial weights drawn at a time
_GLOROT = (None, "sigmoid", "tanh")  # the others pass about half of a centred input: He


class Parameters:
    """weights, biases: tuples of live views, weight i (sizes[i], sizes[i+1]); their gradients
    likewise; ``flat``, ``grads`` and ``state``, the arrays that these are views of."""

    def __init__(self, config: Config) -> None:
        self._config = config
        line, start = ALIGN // config.dtype.itemsize, 0
        self._parts: list[slice] = []  # of weight 0, bias 0, weight 1, ...
        for fan_in, fan_out in config.shapes:
            for size in (fan_in * fan_out, fan_out):
                self._parts.append(slice(start, start + size))
                start = -(-(start + size) // line) * line
        self.flat, self.grads, *state = (
            aligned(start, config.dtype, np.zeros) for _ in range(2 + config.optimizer.slots)
        )
        self.state = tuple(state)
        self.weights, self.biases = self._views(self.flat)
        self.weight_grads, self.bias_grads = self._views(self.grads)

    @property
    def size(self) -> int:
        """How many parameters there are, all layers together."""
        return sum(part.stop - part.start for part in self._parts)

    def initialise(self) -> None:
        """As new. Weights uniform in ±limit: He et al. 2015 sqrt(6/in), Glorot & Bengio 2010
        sqrt(6/(in+out)); biases, gradients and optimizer state zero."""
        for array in (self.flat, self.grads, *self.state):
            array[...] = 0
        generator = stream(self._config.seed, INIT)
        for i, weight in enumerate(self.weights):
            fan_in, fan_out = weight.shape
            is_glorot = self._config.activation_of(i) in _GLOROT
            limit = math.sqrt(6 / (fan_in + fan_out if is_glorot else fan_in))
            flat = weight.reshape(-1)
            for start in range(0, flat.size, _DRAWS):
                part = flat[start : start + _DRAWS]
                part[...] = (2 * uniform(part.size, generator) - 1) * limit

    def values(self) -> Array:
        """A copy of all parameters, (size,): weight 0, bias 0, weight 1, ..., row by row."""
        return self._without_gaps(self.flat)

    def set_values(self, values: Array) -> None:
        """The reverse of values."""
        self._fill(self.flat, values)

    def optimizer_state(self) -> list[Array]:
        """Copies of the optimizer's arrays (velocity; m, v), each in the order of values."""
        return [self._without_gaps(array) for array in self.state]

    def set_optimizer_state(self, caller: str, states: Sequence[Array]) -> None:
        """The reverse of optimizer_state; nothing is written if one of them does not fit."""
        if not isinstance(states, list | tuple):
            raise TypeError(f"{caller}: states is {shown(states)}; pass a list of arrays")
        if len(states) != len(self.state):
            raise ValueError(
                f"{caller}: states has {len(states)} arrays, "
                f"but the optimizer has {len(self.state)}"
            )
        states = [checks.array(caller, f"states[{i}]", state) for i, state in enumerate(states)]
        for i, state in enumerate(states):
            if state.shape != (self.size,):
                raise ValueError(
                    f"{caller}: states[{i}] has shape {state.shape} but the model has {self.size} "
                    f"parameters; pass an array of shape ({self.size},)"
                )
        with np.errstate(over="ignore"):
            states = [state.astype(self._config.dtype, copy=False) for state in states]
        for array, state in zip(self.state, states, strict=True):
            self._fill(array, state)

    def _views(self, flat: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        shapes = self._config.shapes
        weights = (flat[p].reshape(s) for p, s in zip(self._parts[::2], shapes, strict=True))
        return tuple(weights), tuple(flat[p] for p in self._parts[1::2])

    def _without_gaps(self, flat: Array) -> Array:
        return np.concatenate([flat[part] for part in self._parts])

    def _fill(self, flat: Array, values: Array) -> None:
        for part, piece in zip(self._parts, self._pieces(values), strict=True):
            flat[part] = piece

    def _pieces(self, values: Array) -> Iterator[Array]:
        start = 0
        for part in self._parts:
            stop = start + part.stop - part.start
            yield values[start:stop]
            start = stop


def aligned(size: int, dtype: np.dtype[Any], new: Callable[..., Array] = np.empty) -> Array:
    """(size,) elements that start on a cache line."""
    raw = new(size + ALIGN // dtype.itemsize, dtype)
    start = -raw.ctypes.data % ALIGN // dtype.itemsize
    return raw[start : start + size]

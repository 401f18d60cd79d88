"""How long do a layer's forward and backward take, by shape and by activation?"""

from __future__ import annotations

import fastgrad

from ._base import Timed, warm
from ._data import DTYPES, LAYERS, backward, layer

NAMES = list(LAYERS)
ACTIVATIONS = [None, "relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"]

for _dtype in DTYPES:
    warm(layer, NAMES[0], _dtype, "relu")


class Shapes(Timed):
    """layer: batch x in x out."""

    version = "1"
    params = [NAMES, DTYPES]
    param_names = ["layer", "dtype"]

    def time_forward(self, name: str, dtype: str) -> None:
        data = layer(name, dtype, "relu")
        fastgrad.linear_forward(data.x, data.weight, data.bias, "relu", data.y)

    def time_backward(self, name: str, dtype: str) -> None:
        backward(layer(name, dtype, "relu"), "relu")


class Activations(Timed):
    """At 128x512x512, so that what an activation costs can be read off."""

    version = "1"
    params = [ACTIVATIONS, DTYPES]
    param_names = ["activation", "dtype"]

    def time_forward(self, activation: str | None, dtype: str) -> None:
        data = layer("128x512x512", dtype, activation)
        fastgrad.linear_forward(data.x, data.weight, data.bias, activation, data.y, data.z)

    def time_backward(self, activation: str | None, dtype: str) -> None:
        backward(layer("128x512x512", dtype, activation), activation)

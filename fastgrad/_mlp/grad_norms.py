"""Norms of the gradients of single samples, without forming the gradients.

Row i of a batch adds outer(x_i, h_i) to a layer's dW and h_i to its db, h_i being dF/dZ of the row.
So its own gradient has the squared norm (|x_i|^2 + 1)·|h_i|^2, summed over the layers (Goodfellow
2015, "Efficient per-example gradient computations").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen.structs import make
from .._kernels.formulas.activations import BY_NAME
from .._kernels.gemm.elementwise import KERNELS, Derivative
from .._ops import losses
from .._ops.kernel_call import data, rows, run
from .._ops.linear import linear_backward, linear_forward
from .config import Config
from .parameters import Parameters

Array = NDArray[Any]
_ROWS = 1024  # at a time; a power of two


def grad_norms(config: Config, parameters: Parameters, x: Array, y: Array) -> Array:
    """Checked x (N, K) and targets -> (N,) float64; what row i gets depends on row i alone.

    The squares are exact or rounded in float64 and added in a chain, layer by layer.
    """
    total = np.zeros(len(x))
    start = 0
    while start < len(x):
        # The gradient of a mean over 2^n rows is that of one row times 2^-n, to the bit.
        count = min(_ROWS, 1 << ((len(x) - start).bit_length() - 1))
        part = slice(start, start + count)
        total[part] = _squares(config, parameters, x[part], y[part])
        start += count
    with np.errstate(invalid="ignore"):
        return np.sqrt(total)


def _squares(config: Config, parameters: Parameters, x: Array, y: Array) -> Array:
    inputs, outputs, preactivations = [x], [], []
    for i, (weight, bias) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        z = np.empty((len(x), weight.shape[1]), config.dtype)
        outputs.append(linear_forward(inputs[-1], weight, bias, config.activation_of(i), None, z))
        preactivations.append(z)
        inputs.append(outputs[-1])
    g = np.empty_like(outputs[-1])
    if config.loss == "softmax_cross_entropy":
        losses._smoothed_cross_entropy(outputs[-1], y, g, config.label_smoothing)
    elif config.loss == "mse":
        losses._mse(outputs[-1], y, g)
    else:
        losses._binary_cross_entropy_with_logits(outputs[-1], y, g)
    total = np.zeros(len(x))
    with np.errstate(over="ignore", invalid="ignore"):
        g *= len(x)
        for i in reversed(range(len(parameters.weights))):
            name = config.activation_of(i)
            if name is not None:
                saved = outputs if BY_NAME[name].saved == "output" else preactivations
                _times_derivative(name, g, saved[i])
            total += (_row_squares(inputs[i]) + 1) * _row_squares(g)
            if i:
                below = np.empty_like(inputs[i])
                linear_backward(
                    g, inputs[i], parameters.weights[i],
                    needs=(True, False, False), out=(below, None, None),
                )  # fmt: skip
                g = below
    return total


def _times_derivative(name: str, g: Array, saved: Array) -> None:
    """g *= act', both (N, M), C-contiguous."""
    sums = np.zeros(g.shape[1], g.dtype)  # of columns, which nobody asks for
    args = make(Derivative, *g.shape, rows(g), rows(saved), rows(g), data(sums))
    run(KERNELS[name + "_backward"], g.dtype, args)


def _row_squares(a: Array) -> Array:
    """(N, M) -> (N,) float64: the chain of squares along each row."""
    last: Array = np.add.accumulate(np.square(a, dtype=np.float64), axis=1)[:, -1]
    return last

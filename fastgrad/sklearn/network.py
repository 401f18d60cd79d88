"""An estimator's coefs_ and intercepts_ in, the MLP that computes with them out; first weights."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import MLP, SGD

Array = NDArray[Any]
# scikit-learn's names, and ours beside them
ACTIVATIONS: dict[str, Any] = {
    "identity": None,
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "silu": "silu",
}
# out_activation_ -> the loss; of "exp", whose loss is its own (objective.py), one that has logits
LOSSES: dict[str, Any] = {
    "softmax": "softmax_cross_entropy",
    "logistic": "binary_cross_entropy_with_logits",
    "identity": "mse",
    "exp": "mse",
}


def initial(
    sizes: list[int], activation: str, dtype: DTypeLike, random: np.random.RandomState
) -> tuple[list[Array], list[Array]]:
    """coefs_, intercepts_: uniform in ±sqrt(6/(in+out)), for logistic ±sqrt(2/(in+out)) (Glorot &
    Bengio 2010), drawn in scikit-learn's order, so that a random_state gives the same."""
    coefs: list[Array] = []
    intercepts: list[Array] = []
    for fan_in, fan_out in pairwise(sizes):
        limit = math.sqrt((2 if activation == "logistic" else 6) / (fan_in + fan_out))
        for arrays, shape in ((coefs, (fan_in, fan_out)), (intercepts, (fan_out,))):
            arrays.append(random.uniform(-limit, limit, shape).astype(dtype, copy=False))
    return coefs, intercepts


def network(coefs: list[Array], intercepts: list[Array], activation: str, out: str) -> MLP:
    """With copies of them as its parameters. Its own optimizer is not used."""
    sizes = [len(coefs[0]), *(len(b) for b in intercepts)]
    dtype = np.result_type(*coefs, np.float32)
    net = MLP(sizes, ACTIVATIONS[activation], LOSSES[out], SGD(0.0), dtype)
    for to, values in zip(parameters(net), [*coefs, *intercepts], strict=True):
        to[...] = values
    return net


def parameters(net: MLP) -> list[Array]:
    """Live arrays: coefs_, then intercepts_."""
    return [*net.weights, *net.biases]


def gradients(net: MLP) -> list[Array]:
    """Likewise."""
    return [*net.weight_grads, *net.bias_grads]

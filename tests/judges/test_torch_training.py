"""Two hundred training steps beside PyTorch's, in float64: the parameters agree to 1e-12.

Every activation and optimizer with every loss, smoothing, decay, clipping and weights of rows.
Clipping is done by hand: PyTorch's clip_grad_norm_ divides by the norm + 1e-6.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam, AdamW

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional

SIZES, ROWS, BATCHES, STEPS, TOLERANCE = (5, 7, 6, 3), 16, 4, 200, 1e-12
SOFTMAX, BINARY, MSE = "softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"
LOSSES = ((SOFTMAX, 0.0), (SOFTMAX, 0.1), (BINARY, 0.0), (MSE, 0.0))
ACTIVATIONS: dict[str | None, Callable[[Any], Any]] = {
    None: lambda z: z,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
}
OPTIMIZERS: dict[str, tuple[Callable[[float], Any], Callable[[Any, float], Any]]] = {
    "sgd": (
        lambda decay: SGD(0.05, weight_decay=decay),
        lambda p, decay: torch.optim.SGD(p, 0.05, weight_decay=decay),
    ),
    "momentum": (
        lambda decay: SGD(0.02, 0.9, weight_decay=decay),
        lambda p, decay: torch.optim.SGD(p, 0.02, 0.9, weight_decay=decay),
    ),
    "nesterov": (
        lambda decay: SGD(0.02, 0.9, True, decay),
        lambda p, decay: torch.optim.SGD(p, 0.02, 0.9, weight_decay=decay, nesterov=True),
    ),
    "adam": (
        lambda decay: Adam(0.002, weight_decay=decay),
        lambda p, decay: torch.optim.Adam(p, 0.002, weight_decay=decay),
    ),
    "adamw": (
        lambda decay: AdamW(0.002, weight_decay=decay),
        lambda p, decay: torch.optim.AdamW(p, 0.002, weight_decay=decay),
    ),
}


def _batches(loss: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(BATCHES):
        y: np.ndarray = rng.standard_normal((ROWS, SIZES[-1]))
        if loss == SOFTMAX:
            y = rng.integers(0, SIZES[-1], ROWS)
        elif loss == BINARY:
            y = rng.random((ROWS, SIZES[-1]))
        made.append((rng.standard_normal((ROWS, SIZES[0])), y, rng.integers(0, 4, ROWS) / 2))
    return made


def _loss(z: Any, y: Any, weights: Any, loss: str, smoothing: float) -> Any:
    """The sum over rows of w·l by that of w; l is a mean over outputs but for softmax."""
    if loss == SOFTMAX:
        rows = F.cross_entropy(z, y, reduction="none", label_smoothing=smoothing)
    elif loss == BINARY:
        rows = F.binary_cross_entropy_with_logits(z, y, reduction="none").mean(1)
    else:
        rows = F.mse_loss(z, y, reduction="none").mean(1)
    return (rows * weights).sum() / weights.sum()


def _theirs(
    model: MLP, loss: tuple[str, float], activation: str | None, optimize: Any, decay: float,
    most: float | None, weighted: bool,
) -> list[Any]:  # fmt: skip
    parameters = [
        torch.from_numpy(a.copy()).requires_grad_()
        for pair in zip(model.weights, model.biases, strict=True)
        for a in pair
    ]
    optimizer = optimize(parameters, decay)
    batches = [[torch.from_numpy(a) for a in batch] for batch in _batches(loss[0])]
    for i in range(STEPS):
        x, y, weights = batches[i % BATCHES]
        for layer in range(0, len(parameters), 2):
            z = x @ parameters[layer] + parameters[layer + 1]
            x = ACTIVATIONS[activation](z)
        optimizer.zero_grad()
        _loss(z, y, weights if weighted else torch.ones(ROWS), *loss).backward()
        if most is not None:
            norm = sum((p.grad**2).sum() for p in parameters).sqrt()
            if norm > most:
                for p in parameters:
                    p.grad *= most / norm
        optimizer.step()
    return [p.detach().numpy() for p in parameters]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_hundred_steps(activation: str | None, optimizer: str) -> None:
    ours, theirs = OPTIMIZERS[optimizer]
    worst = 0.0
    for loss, decay, most, weighted in itertools.product(
        LOSSES, (0.0, 0.01), (None, 0.1), (False, True)
    ):
        model = MLP(
            SIZES, activation, loss[0], ours(decay), "float64", 1, label_smoothing=loss[1],
            max_grad_norm=most,
        )  # fmt: skip
        wanted = _theirs(model, loss, activation, theirs, decay, most, weighted)
        batches = _batches(loss[0])
        for i in range(STEPS):
            x, y, weights = batches[i % BATCHES]
            model.train_step(x, y, weights if weighted else None)
        found = [a for pair in zip(model.weights, model.biases, strict=True) for a in pair]
        for a, b in zip(found, wanted, strict=True):
            worst = max(worst, float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)))))
        assert worst < TOLERANCE, (loss, decay, most, weighted)
    print(f"{worst:.1e}")

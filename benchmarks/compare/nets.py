"""The nets whose training steps are compared, their data, and what their first losses are to be.

A step: forward, softmax cross-entropy with integer labels, gradients of all parameters, plain SGD,
and the loss of the batch as a Python float. relu between layers, float32.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

CHECK_RATE, TIMED_RATE = 0.05, 1e-6  # a step of the timed net costs the same and goes nowhere
CHECKED = 5  # steps whose losses are compared before the net is timed
TOLERANCE = 2e-4  # relative, of a loss in float32


class Net(NamedTuple):
    sizes: tuple[int, ...]
    batch: int

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes)) + f" b{self.batch}"


NETS = (
    Net((4, 32, 2), 1),
    Net((64, 128, 10), 1),
    Net((30, 100, 2), 1),
    Net((4, 32, 2), 16),
    Net((64, 128, 10), 32),
    Net((30, 100, 2), 200),
    Net((10, 45, 45, 10), 128),
    Net((10, 46, 46, 10), 128),
    Net((376, 256, 256, 17), 64),
    Net((784, 200, 100, 10), 256),
    Net((784, 512, 512, 10), 128),
    Net((784, 1024, 1024, 10), 256),
)


class Start(NamedTuple):
    """x (batch, inputs), labels (batch,), and the parameters before the first step."""

    x: Array
    labels: Array
    weights: list[Array]
    biases: list[Array]


def start(net: Net) -> Start:
    """The same for every library; every class has a label where the batch is large enough."""
    rng = np.random.default_rng([*net.sizes, net.batch])
    x = rng.standard_normal((net.batch, net.sizes[0]), np.float32)
    labels = rng.permutation(np.arange(net.batch) % net.sizes[-1])
    pairs = list(itertools.pairwise(net.sizes))
    weights = [
        rng.standard_normal(shape, np.float32) * np.float32((2 / shape[0]) ** 0.5)
        for shape in pairs
    ]
    biases = [rng.standard_normal(m, np.float32) * np.float32(0.1) for _, m in pairs]
    return Start(x, labels, weights, biases)


def expected_losses(net: Net) -> list[float]:
    """In float64, by the textbook."""
    x, labels, weights, biases = start(net)
    ws, bs = [w.astype(float) for w in weights], [b.astype(float) for b in biases]
    rows = np.arange(net.batch)
    losses = []
    for _ in range(CHECKED):
        ys = [x.astype(float)]
        for i, (w, b) in enumerate(zip(ws, bs, strict=True)):
            z = ys[-1] @ w + b
            ys.append(z if i == len(ws) - 1 else np.maximum(z, 0))
        p = np.exp(ys[-1] - ys[-1].max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses.append(float(-np.log(p[rows, labels]).mean()))
        p[rows, labels] -= 1
        h = p / net.batch
        for i in reversed(range(len(ws))):
            dw, db = ys[i].T @ h, h.sum(0)
            h = (h @ ws[i].T) * (ys[i] > 0)
            ws[i] -= CHECK_RATE * dw
            bs[i] -= CHECK_RATE * db
    return losses


def wrong(net: Net, found: list[float]) -> str:
    """What is wrong with the first losses, or nothing."""
    wanted = expected_losses(net)
    if np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE):
        return ""
    return f"{net}: losses {found}, expected {wanted}"

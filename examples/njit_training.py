"""A whole training loop inside the user's own compiled code: two layers that learn y = sin(x)."""

import numpy as np
from numba import njit

import fastgrad


@njit(cache=True)
def train(x, y, w1, b1, w2, b2, steps, rate):
    for _ in range(steps):
        h = fastgrad.linear_forward(x, w1, b1, "tanh")
        prediction = fastgrad.linear_forward(h, w2, b2)
        loss, grad = fastgrad.mse(prediction, y)
        last = fastgrad.linear_backward(grad, h, w2)
        first = fastgrad.linear_backward(last.x, x, w1, "tanh", output=h, needs=(False, True, True))
        fastgrad.sgd_step(w1, first.weight, rate)
        fastgrad.sgd_step(b1, first.bias, rate)
        fastgrad.sgd_step(w2, last.weight, rate)
        fastgrad.sgd_step(b2, last.bias, rate)
    return loss


rng = np.random.default_rng(0)
x = np.linspace(-3, 3, 200).reshape(-1, 1)
w1, b1 = rng.standard_normal((1, 32)), rng.standard_normal(32)
w2, b2 = rng.standard_normal((32, 1)) / 32, np.zeros(1)
losses = [train(x, np.sin(x), w1, b1, w2, b2, 500, 0.05) for _ in range(3)]
print([f"{loss:.3f}" for loss in losses])  # ['0.004', '0.002', '0.001']

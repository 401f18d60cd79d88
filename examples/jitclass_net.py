"""A jitclass that holds its weights and trains itself: fastgrad's functions in its methods."""

import numpy as np
from numba import float32, float64, int64, njit
from numba.experimental import jitclass

import fastgrad


@jitclass([
    ("w1", float32[:, ::1]), ("b1", float32[::1]), ("w2", float32[:, ::1]), ("b2", float32[::1]),
    ("hidden", float32[:, ::1]), ("rate", float64), ("steps", int64),
])  # fmt: skip
class Net:
    """x (N, inputs) -> tanh -> (N, outputs), with N up to ``batch``."""

    def __init__(self, w1, w2, batch, rate):
        self.w1, self.b1 = w1, np.zeros(w1.shape[1], np.float32)
        self.w2, self.b2 = w2, np.zeros(w2.shape[1], np.float32)
        self.hidden = np.empty((batch, len(w2)), np.float32)
        self.rate, self.steps = rate, 0

    def forward(self, x):
        hidden = fastgrad.linear_forward(x, self.w1, self.b1, "tanh", out=self.hidden[: len(x)])
        return fastgrad.linear_forward(hidden, self.w2, self.b2)

    def train_step(self, x, y):
        loss, grad = fastgrad.mse(self.forward(x), y)
        hidden = self.hidden[: len(x)]
        last = fastgrad.linear_backward(grad, hidden, self.w2)
        first = fastgrad.linear_backward(
            last.x, x, self.w1, "tanh", output=hidden, needs=(False, True, True)
        )
        fastgrad.sgd_step(self.w1, first.weight, self.rate)
        fastgrad.sgd_step(self.b1, first.bias, self.rate)
        fastgrad.sgd_step(self.w2, last.weight, self.rate)
        fastgrad.sgd_step(self.b2, last.bias, self.rate)
        self.steps += 1
        return loss


@njit
def fit(net, x, y, epochs, batch):
    """The instance goes into compiled code as any value does; its arrays change in place."""
    for _ in range(epochs):
        for start in range(0, len(x), batch):
            loss = net.train_step(x[start : start + batch], y[start : start + batch])
    return loss


rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (256, 2)).astype(np.float32)
y = x[:, :1] * x[:, 1:]
w1, w2 = (rng.standard_normal(s).astype(np.float32) for s in ((2, 32), (32, 1)))
net = Net(w1, w2, 64, 0.1)
first = fit(net, x, y, 1, 64)
last = fit(net, x, y, 999, 64)
print(net.steps, f"steps, loss below a hundredth: {last < first / 100}")
# 4000 steps, loss below a hundredth: True

"""An optimizer of one's own: Lion (Chen et al. 2023), by the live gradients of a model.

loss_and_grads leaves the gradients in weight_grads and bias_grads; weights and biases are live
arrays, too, and are changed in place. MLP's own optimizer is not asked.
"""

import numpy as np

import fastgrad
from fastgrad.datasets import load_digits, stratified_split


class Lion:
    def __init__(self, model: fastgrad.MLP, lr: float = 1e-3, b1: float = 0.9, b2: float = 0.99):
        self.pairs = list(
            zip(model.weights + model.biases, model.weight_grads + model.bias_grads, strict=True)
        )
        self.momenta = [np.zeros_like(grad) for _, grad in self.pairs]
        self.lr, self.b1, self.b2 = lr, b1, b2

    def step(self) -> None:
        for (param, grad), m in zip(self.pairs, self.momenta, strict=True):
            param -= self.lr * np.sign(self.b1 * m + (1 - self.b1) * grad)
            m *= self.b2
            m += (1 - self.b2) * grad


x, y = load_digits()
train, held = stratified_split(y)
model = fastgrad.MLP((64, 128, 10))
lion = Lion(model)
rng = np.random.default_rng(0)
losses = []
for _ in range(10):
    total = 0.0
    for rows in np.array_split(rng.permutation(train), len(train) // 32):
        total += model.loss_and_grads(x[rows], y[rows]) * len(rows)
        lion.step()
    losses.append(total / len(train))
print(f"loss: {losses[0]:.2f} in the first epoch, {losses[-1]:.2f} in the last")
# loss: 1.88 in the first epoch, 0.04 in the last
print(f"held out: {model.evaluate(x[held], y[held])['accuracy']:.0%} right")
# held out: 96% right

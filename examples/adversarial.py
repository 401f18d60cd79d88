"""Adversarial inputs: pixels are moved along the sign of dF/dX (Goodfellow et al. 2014).

backward(..., input_grad=True) gives dF/dX through the whole model; what it leaves in weight_grads
is not used.
"""

import numpy as np

import fastgrad
from fastgrad.datasets import load_digits, stratified_split

x, y = load_digits()
train, held = stratified_split(y)
model = fastgrad.MLP((64, 128, 10), optimizer=fastgrad.Adam(0.003))
model.fit(x[train], y[train], 20, progress=False)
images, labels = x[held], y[held]
found = [f"{model.evaluate(images, labels)['accuracy']:.0%} as they are"]


def attacked(images: np.ndarray, step: float) -> np.ndarray:
    logits = model.forward(images, keep=True)
    _, grad = fastgrad.softmax_cross_entropy(logits, labels)
    slope = model.backward(grad, input_grad=True)
    return np.clip(images + np.float32(step) * np.sign(slope), images.min(), images.max())


for step in (0.05, 0.1, 0.2):
    worse = model.evaluate(attacked(images, step), labels)
    found.append(f"{worse['accuracy']:.0%} moved by {step}")
print("right:", ", ".join(found))
# right: 99% as they are, 85% moved by 0.05, 52% moved by 0.1, 3% moved by 0.2

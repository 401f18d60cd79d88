"""An ensemble as a stack of weights: each layer of all members is one call, forward and backward.

The members see the same batches and start from other weights; the mean of their probabilities
decides. How far they agree says how sure the ensemble is.
"""

import numpy as np

import fastgrad
from fastgrad.datasets import load_digits, stratified_split

MEMBERS, HIDDEN = 8, 8
x, y = load_digits()
train, held = stratified_split(y)
rng = np.random.default_rng(0)


def weights(inputs: int, outputs: int) -> np.ndarray:
    limit = np.sqrt(6 / inputs)
    return rng.uniform(-limit, limit, (MEMBERS, inputs, outputs)).astype(np.float32)


w1, b1 = weights(64, HIDDEN), np.zeros((MEMBERS, HIDDEN), np.float32)
w2, b2 = weights(HIDDEN, 10), np.zeros((MEMBERS, 10), np.float32)
params = [w1, b1, w2, b2]
states = [(np.zeros_like(p), np.zeros_like(p)) for p in params]


def forward(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hidden = fastgrad.linear_forward(images, w1, b1, "relu")  # (members, rows, hidden)
    return hidden, fastgrad.linear_forward(hidden, w2, b2)


step = 0
for _ in range(15):
    for rows in np.array_split(rng.permutation(train), len(train) // 32):
        hidden, logits = forward(x[rows])
        labels = np.broadcast_to(y[rows], logits.shape[:2])
        _, grad = fastgrad.softmax_cross_entropy(logits, labels, denominator=len(rows))
        above = fastgrad.linear_backward(grad, hidden, w2)
        below = fastgrad.linear_backward(
            above.x, x[rows], w1, "relu", hidden, needs=(False, True, True)
        )
        step += 1
        grads = [below.weight, below.bias, above.weight, above.bias]
        for param, grad, state in zip(params, grads, states, strict=True):
            fastgrad.adam_step(param, grad, *state, step, lr=0.01)

votes = fastgrad.softmax(forward(x[held])[1])  # (members, rows, classes)
alone = (votes.argmax(axis=2) == y[held]).mean(axis=1)
right = votes.mean(axis=0).argmax(axis=1) == y[held]
print(f"right: {alone.min():.0%} to {alone.max():.0%} alone, {right.mean():.0%} together")
# right: 89% to 95% alone, 95% together
agreed = (votes.argmax(axis=2) == votes.argmax(axis=2)[0]).all(axis=0)
print(f"where all agree, on {agreed.mean():.0%}: {right[agreed].mean():.0%} right")
# where all agree, on 82%: 99% right
print(f"where they do not: {right[~agreed].mean():.0%}")
# where they do not: 75%

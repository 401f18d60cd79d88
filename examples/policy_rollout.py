"""Control: a policy inside a compiled simulation of a cart with a pole, improved by REINFORCE.

One observation at a time, then the episode as a batch: a row has the same bits in both.
"""

import math

import numpy as np
from numba import njit

import fastgrad


@njit(cache=True)
def episode(w1, b1, w2, b2, draws, seen, actions):
    """Play until the pole falls -> the number of steps; seen and actions are written."""
    state = np.array([0.01, 0.0, 0.02, 0.0], np.float32)
    for t in range(len(draws)):
        seen[t] = state
        h = fastgrad.linear_forward(state, w1, b1, "tanh")
        logits = fastgrad.linear_forward(h, w2, b2)
        p = 1 / (1 + math.exp(-(logits[1] - logits[0])))
        actions[t] = 1 if draws[t] < p else 0
        force, angle, spin = 20.0 * actions[t] - 10.0, state[2], state[3]
        push = (force + 0.05 * spin * spin * math.sin(angle)) / 1.1
        inertia = 0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1)
        turn = (9.8 * math.sin(angle) - math.cos(angle) * push) / inertia
        slide = push - 0.05 * turn * math.cos(angle) / 1.1
        state += np.float32(0.02) * np.array([state[1], slide, spin, turn], np.float32)
        if abs(state[2]) > 0.21 or abs(state[0]) > 2.4:
            return t + 1
    return len(draws)


@njit(cache=True)
def improve(w1, b1, w2, b2, seen, actions, rate):
    """One step along the gradient of sum(log p(action) * (return - baseline))."""
    n = len(actions)
    h = fastgrad.linear_forward(seen, w1, b1, "tanh")
    _, grad = fastgrad.softmax_cross_entropy(fastgrad.linear_forward(h, w2, b2), actions)
    for t in range(n):
        grad[t] *= np.float32((n - t) / n - 0.5) * n  # the return from t on, less its mean
    last = fastgrad.linear_backward(grad, h, w2)
    first = fastgrad.linear_backward(last.x, seen, w1, "tanh", output=h)
    fastgrad.sgd_step(w1, first.weight, rate)
    fastgrad.sgd_step(b1, first.bias, rate)
    fastgrad.sgd_step(w2, last.weight, rate)
    fastgrad.sgd_step(b2, last.bias, rate)


rng = np.random.default_rng(1)
params = [rng.standard_normal(s).astype(np.float32) / 4 for s in ((4, 32), 32, (32, 2), 2)]
seen, actions = np.zeros((500, 4), np.float32), np.zeros(500, np.int64)
lengths = []
for _ in range(600):
    n = episode(*params, rng.random(500), seen, actions)
    improve(*params, seen[:n], actions[:n], 0.002)
    lengths.append(n)
longer = np.mean(lengths[-100:]) > 2 * np.mean(lengths[:100])
print("balances twice as long:", longer)  # balances twice as long: True

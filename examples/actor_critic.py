"""Actor-critic: poles in a prange loop ask the net a row at a time, and it learns from them all."""

import math

import numpy as np
from numba import njit, prange

import fastgrad

POLES, STEPS, GAMMA, RATE = 16, 32, 0.97, 0.5


@njit(parallel=True)
def play(w1, b1, w2, b2, states, draws, seen, actions, stands):
    """STEPS of each pole: (lean, turn) -> a push to one side. One that falls is put up again."""
    for pole in prange(POLES):
        for t in range(STEPS):
            seen[t, pole] = states[pole]
            hidden = fastgrad.linear_forward(states[pole], w1, b1, "tanh")
            out = fastgrad.linear_forward(hidden, w2, b2)  # scores of two actions, and the value
            action = int(draws[t, pole] < 1 / (1 + math.exp(out[0] - out[1])))
            states[pole, 1] += 0.05 * (9.8 * math.sin(states[pole, 0]) + 8 * action - 4)
            states[pole, 0] += 0.05 * states[pole, 1]
            actions[t * POLES + pole] = action
            stands[t, pole] = abs(states[pole, 0]) < 0.3
            states[pole] *= stands[t, pole]
        seen[STEPS, pole] = states[pole]


@njit
def learn(w1, b1, w2, b2, dw1, db1, dw2, db2, x, actions, stands):
    """The gradients of log p(action)·advantage and of the values' squared error are written."""
    hidden = fastgrad.linear_forward(x, w1, b1, "tanh")
    out = fastgrad.linear_forward(hidden, w2, b2)
    _, by_scores = fastgrad.softmax_cross_entropy(out[: len(actions), :2], actions)
    grad = np.zeros_like(out)
    for pole in range(POLES):
        future = out[len(actions) + pole, 2]
        for t in range(STEPS - 1, -1, -1):
            i, future = t * POLES + pole, stands[t, pole] * (1 + GAMMA * future)
            grad[i, :2] = by_scores[i] * (future - out[i, 2])
            grad[i, 2] = (out[i, 2] - future) / len(actions)
    last = fastgrad.linear_backward(grad, hidden, w2, out=(None, dw2, db2))
    fastgrad.linear_backward(last.x, x, w1, "tanh", output=hidden, out=(None, dw1, db1))


rng = np.random.default_rng(0)
net = [rng.standard_normal(s).astype(np.float32) / 4 for s in ((2, 32), 32, (32, 3), 3)]
grads = [np.empty_like(p) for p in net]
states, seen = np.zeros((POLES, 2), np.float32), np.empty((STEPS + 1, POLES, 2), np.float32)
actions, stands = np.empty(STEPS * POLES, np.int64), np.empty((STEPS, POLES), np.float32)
falls = []
for _ in range(400):
    play(*net, states, rng.random((STEPS, POLES)), seen, actions, stands)
    learn(*net, *grads, seen.reshape(-1, 2), actions, stands)
    fastgrad.clip_grad_norm(grads, 0.5)
    for param, grad in zip(net, grads, strict=True):
        fastgrad.sgd_step(param, grad, RATE)
    falls.append(np.sum(stands == 0))
print("falls less:", sum(falls[-50:]) < sum(falls[:50]) / 10)  # falls less: True

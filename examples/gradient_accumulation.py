"""Gradients of a batch too large for memory, in micro-batches: the same bits as in one piece.

Each micro-batch has the denominator of the whole batch, so that losses and gradients add up. All
but the last are multiples of fastgrad.KC rows, because that is where the blocks of the sum over
rows begin.
"""

import numpy as np

import fastgrad

rng = np.random.default_rng(0)
x = rng.standard_normal((5000, 64)).astype(np.float32)
y = rng.integers(0, 10, len(x))
model = fastgrad.MLP((64, 128, 10), optimizer=fastgrad.Adam(0.003), max_grad_norm=1.0)

loss = model.loss_and_grads(x, y)
whole = [grad.copy() for grad in model.weight_grads + model.bias_grads]

rows, total = 2 * fastgrad.KC["float32"], 0.0
for start in range(0, len(x), rows):
    part = slice(start, start + rows)
    total += model.loss_and_grads(x[part], y[part], denominator=len(x), accumulate=start > 0)
parts = model.weight_grads + model.bias_grads
print("same bits:", all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True)))
# same bits: True
print(f"loss {loss:.5f}, added up {total:.5f}")
# loss 2.95266, added up 2.95266
model.update()

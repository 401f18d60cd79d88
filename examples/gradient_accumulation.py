"""Gradients of a batch too large for memory, in micro-batches: the same bits as in one piece.

The first micro-batch is written, the others are added; all but the last are multiples of
fastgrad.KC rows, because that is where the blocks of the sum over rows begin.
"""

import numpy as np

import fastgrad

rng = np.random.default_rng(0)
x = rng.standard_normal((5000, 64)).astype(np.float32)
grad = rng.standard_normal((5000, 10)).astype(np.float32)
weight = rng.standard_normal((64, 10)).astype(np.float32)

whole = fastgrad.linear_backward(grad, x, weight, needs=(False, True, True))

rows = 2 * fastgrad.KC["float32"]
dw, db = np.empty_like(weight), np.empty(10, np.float32)
for start in range(0, len(x), rows):
    part = slice(start, start + rows)
    fastgrad.linear_backward(
        grad[part], x[part], weight, needs=(False, True, True), out=(None, dw, db),
        accumulate=start > 0,
    )  # fmt: skip
print("same bits:", np.array_equal(dw, whole.weight) and np.array_equal(db, whole.bias))
# same bits: True

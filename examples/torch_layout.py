"""Weights stored (out, in), as PyTorch's nn.Linear has them: passed as weight.T, with no copy.

The gradient is written in that layout too: `out` takes grad_weight.T, a view.
"""

import numpy as np

import fastgrad

rng = np.random.default_rng(0)
x = rng.standard_normal((32, 100)).astype(np.float32)
grad = rng.standard_normal((32, 20)).astype(np.float32)
weight = rng.standard_normal((20, 100)).astype(np.float32)  # as layer.weight.detach().numpy()
grad_weight = np.empty_like(weight)  # as layer.weight.grad.numpy()

y = fastgrad.linear_forward(x, weight.T)
fastgrad.linear_backward(
    grad, x, weight.T, needs=(False, True, False), out=(None, grad_weight.T, None)
)
print(y.shape, grad_weight.shape)  # (32, 20) (20, 100)

rowwise = np.ascontiguousarray(weight.T)  # (in, out): the same bits
print(np.array_equal(y, fastgrad.linear_forward(x, rowwise)))  # True
print(np.array_equal(grad_weight.T, fastgrad.linear_backward(grad, x, rowwise).weight))  # True

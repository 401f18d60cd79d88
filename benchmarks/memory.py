"""How much memory does a process need at most? Subtract ``peakmem_reference``: imports alone.

The arrays themselves are counted, and given with each in MB. A process that compiles needs far
more, so another process has filled the cache before.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import fastgrad

from ._base import warm

N, K, M = 256, 768, 3072  # a layer: batch, in, out
FILL = """
import numpy as np, fastgrad
a = np.ones((8, 8), "f4")
fastgrad.matmul(a, a)
fastgrad.linear_backward(a, a, a, "relu", fastgrad.linear_forward(a, a, a[0], "relu"))
fastgrad.MLP((8, 8, 2)).train_step(a, np.zeros(8, "i8"))
"""
warm(subprocess.run, [sys.executable, "-c", FILL])


def layer() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N, K), weight (K, M), grad (N, M)"""
    return tuple(np.ones(shape, np.float32) for shape in ((N, K), (K, M), (N, M)))  # type: ignore


class Peak:
    version = "1"
    timeout = 120

    def peakmem_reference(self) -> None:
        """Nothing: what the imports take."""

    def peakmem_first_call(self) -> None:
        """Nearly no arrays: what numba needs to load a kernel, and the kernels' scratch."""
        a = np.ones((8, 8), np.float32)
        fastgrad.matmul(a, a)

    def peakmem_matmul(self) -> None:
        """25.2 MB: two operands and the result, 1448 x 1448."""
        a = np.ones((1448, 1448), np.float32)
        fastgrad.matmul(a, a.copy())

    def peakmem_forward(self) -> None:
        """16.5 MB: x, weight, grad, y."""
        x, weight, _ = layer()
        fastgrad.linear_forward(x, weight, None, "relu")

    def peakmem_backward(self) -> None:
        """26.7 MB: x, weight, grad, y; their gradients."""
        x, weight, grad = layer()
        fastgrad.linear_backward(grad, x, weight, "relu", grad)

    def peakmem_train_step(self) -> None:
        """A net 768-3072-10, parameters and gradients 19.1 MB, and its batch."""
        x, *_ = layer()
        model = fastgrad.MLP((K, M, 10))
        model.train_step(x, np.zeros(N, np.int64))

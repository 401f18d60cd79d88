"""What type checkers are to infer of the public functions; checked, never run.

mypy --strict tests/typing      # in .ci/run
pyright tests/typing
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import fastgrad

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type

x: NDArray[np.float32] = np.zeros((2, 3), np.float32)
w: NDArray[np.float32] = np.zeros((3, 4), np.float32)

y = fastgrad.linear_forward(x, w, activation="relu")
assert_type(y, NDArray[Any])
grads = fastgrad.linear_backward(y, x, w, activation="relu", output=y)
assert_type(grads, fastgrad.LinearGrads)
assert_type(grads.weight, NDArray[Any] | None)
assert_type(fastgrad.get_num_threads(), int)
bits: int = fastgrad.BITS_VERSION
assert_type(fastgrad.__version__, str)
loss, grad = fastgrad.softmax_cross_entropy(y, np.zeros(2, np.int64))
assert_type(loss, float)
assert_type(grad, NDArray[Any])
model = fastgrad.MLP((3, 4), loss="mse", optimizer=fastgrad.Adam())
assert_type(model.forward(x), NDArray[Any])
assert_type(model.train_step(x, x), float)
assert_type(model.weights, tuple[NDArray[Any], ...])

name: Literal["gelu"] = "gelu"
fastgrad.linear_forward(x, w, None, name)
fastgrad.linear_forward(x, w, None, "swish")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.MLP((3, 4), loss="hinge")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.MLP((3, 4), activation="step")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.matmul("a", x)  # type: ignore[arg-type]  # pyright: ignore

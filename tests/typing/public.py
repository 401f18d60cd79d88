"""What type checkers are to infer of the public functions; checked, never run.

mypy --strict tests/typing      # in .ci/run
pyright                         # in .ci/nightly
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
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

labels = np.zeros(2, np.int64)

# products and layers
assert_type(fastgrad.matmul(x, w), Any)  # a number where both are vectors
y = fastgrad.linear_forward(x, w, activation="relu")
assert_type(y, NDArray[Any])
grads = fastgrad.linear_backward(y, x, w, "relu", y, accumulate=(False, True, True))
assert_type(grads, fastgrad.LinearGrads)
assert_type(grads.weight, NDArray[Any] | None)
dx, dw, db = fastgrad.linear_backward(y, x, w, needs=(False, True, True), out=(None, w, None))
assert_type(db, NDArray[Any] | None)

# losses and optimizers
loss, grad = fastgrad.softmax_cross_entropy(y, labels, label_smoothing=0.1)
assert_type(loss, float)
assert_type(grad, NDArray[Any])
assert_type(fastgrad.mse(y, y), tuple[float, NDArray[Any]])
assert_type(fastgrad.binary_cross_entropy_with_logits(y, y), tuple[float, NDArray[Any]])
assert_type(fastgrad.clip_grad_norm([x, w], 1.0), float)
assert_type(fastgrad.clip_grad_norm(x, 1.0), float)
step: None = fastgrad.sgd_step(w, w, 0.1)  # type: ignore[func-returns-value]
assert_type(fastgrad.SGD(0.1).momentum, float)
assert_type(fastgrad.Adam().betas, tuple[float, float])

# models
model = fastgrad.MLP((3, 4), loss="mse", optimizer=fastgrad.Adam(), dtype="float64")
assert_type(model.forward(x), NDArray[Any])
assert_type(model.predict(x), NDArray[Any])
assert_type(model.train_step(x, x), float)
assert_type(model.weights, tuple[NDArray[Any], ...])
assert_type(model.loss_and_grads(x, x, accumulate=True), float)
assert_type(model.forward(x, keep=True), NDArray[Any])
assert_type(model.backward(x, input_grad=True), NDArray[Any] | None)
assert_type(model.weight_grads, tuple[NDArray[Any], ...])
assert_type(model.evaluate(x, x), dict[str, float])
model.update()
model.fit(x, x, 1, validation=0.1, callback=lambda history: history["loss"][-1] < 0.1)
fastgrad.MLP((3, 5, 4), ("relu", None))
schedule = fastgrad.cosine_schedule(0.1, 10)
assert_type(model.fit(x, x, 1, 2, (x, x), schedule=schedule), dict[str, list[float]])
model.save("model.npz")
assert_type(fastgrad.MLP.load("model.npz"), fastgrad.MLP)

# everything else
assert_type(fastgrad.get_num_threads(), int)
with fastgrad.num_threads(2) as nothing:
    assert_type(nothing, None)
assert_type(fastgrad.KC, Mapping[Any, int])
bits: int = fastgrad.BITS_VERSION
assert_type(fastgrad.__version__, str)
assert_type(fastgrad.reference.contract_matmul(x, w), NDArray[Any])

# names
name: Literal["gelu"] = "gelu"
fastgrad.linear_forward(x, w, None, name)
for known in ("relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", None):
    fastgrad.linear_forward(x, w, None, known)
    fastgrad.linear_backward(y, x, w, known, y, y)
    fastgrad.MLP((3, 4), known)
for kind in ("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"):
    fastgrad.MLP((3, 4), loss=kind)
unknown = fastgrad.__version__  # a str
fastgrad.linear_forward(x, w, None, unknown)  # type: ignore[arg-type]  # pyright: ignore
fastgrad.linear_forward(x, w, None, "swish")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.linear_forward(x, w, activation="ReLU")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.linear_backward(y, x, w, "elu")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.MLP((3, 4), loss="hinge")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.MLP((3, 4), loss=None)  # type: ignore[arg-type]  # pyright: ignore
fastgrad.MLP((3, 4), activation="step")  # type: ignore[arg-type]  # pyright: ignore

# other wrong calls
fastgrad.matmul("a", x)  # type: ignore[arg-type]  # pyright: ignore
fastgrad.matmul([[1.0]], x)  # type: ignore[arg-type]  # pyright: ignore
fastgrad.linear_backward(y, x, w, needs=(True, False))  # type: ignore[arg-type]  # pyright: ignore
fastgrad.MLP((3, 4), optimizer="adam")  # type: ignore[arg-type]  # pyright: ignore
fastgrad.set_num_threads("2")  # type: ignore[arg-type]  # pyright: ignore
print(grads.weigth)  # type: ignore[attr-defined]  # pyright: ignore

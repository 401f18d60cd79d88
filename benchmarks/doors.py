"""What does a door save, or cost? Ours beside scikit-learn's MLP and PyTorch's layer.

time / theirs: lower is better. n/a where scikit-learn or PyTorch is not installed.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ._abba import ratio
from ._base import SkipNotImplemented, Timed, need, warm

Call = Callable[[], object]
Pair = tuple[Call, Call]
LAYERS = {"32x64x128": (32, 64, 128), "128x512x512": (128, 512, 512)}  # batch, in, out


def _library(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise SkipNotImplemented(f"{name} is not installed")
    need((f"fastgrad.{name}",))


@cache
def fits() -> Pair:
    """MLPClassifier(100).fit of a thousand rows in three epochs: ours and scikit-learn's."""
    _library("sklearn")
    from sklearn.neural_network import MLPClassifier as Theirs

    from fastgrad.sklearn import MLPClassifier as Ours

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1000, 64)), rng.integers(0, 10, 1000)

    def fit(kind: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # three epochs are not enough to converge
            return kind(max_iter=3, random_state=0).fit(x, y)

    ours, theirs = fit(Ours), fit(Theirs)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    return lambda: fit(Ours), lambda: fit(Theirs)


@cache
def torch_layers(name: str) -> Pair:
    """Forward and backward of a layer with relu in autograd, float32: ours and PyTorch's."""
    _library("torch")
    import torch

    import fastgrad.torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows, inputs, outputs = LAYERS[name]
    x, grad = torch.randn(rows, inputs), torch.randn(rows, outputs)
    theirs = torch.nn.Linear(inputs, outputs)
    ours = fastgrad.torch.Linear(inputs, outputs, activation="relu")
    ours.load_state_dict(theirs.state_dict())

    def step(layer: Any, activation: Any) -> Any:
        leaf = x.detach().requires_grad_()
        layer.zero_grad(set_to_none=True)
        activation(layer(leaf)).backward(grad)
        return leaf.grad

    def same(y: Any) -> Any:
        return y

    expected = step(theirs, torch.relu)
    torch.testing.assert_close(step(ours, same), expected, rtol=1e-4, atol=1e-4)
    return lambda: step(ours, same), lambda: step(theirs, torch.relu)


warm(fits)
for _name in LAYERS:
    warm(torch_layers, _name)


class Sklearn(Timed):
    """MLPClassifier.fit: 1,000 rows of 64 numbers, 10 classes, hidden 100, three epochs."""

    version = "1"
    unit = "time / scikit-learn's"

    def time_fit(self) -> None:
        fits()[0]()

    def track_fit_over_sklearn(self) -> float:
        return ratio(*fits())


class Torch(Timed):
    """layer: batch x in x out, forward and backward."""

    version = "1"
    params = [list(LAYERS)]
    param_names = ["layer"]
    unit = "time / PyTorch's"

    def time_layer(self, name: str) -> None:
        torch_layers(name)[0]()

    def track_layer_over_torch(self, name: str) -> float:
        return ratio(*torch_layers(name))

"""The step in plain numpy that bench and train are timed beside."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam
from fastgrad.cli import _numpy_step, main
from support.blobs import blobs


@pytest.mark.parametrize("optimizer", [SGD(0.1, 0.9), Adam(0.01)])
@pytest.mark.parametrize("activation", [None, "relu", "tanh", "sigmoid", "silu", "gelu_tanh"])
def test_the_numpy_step_is_the_same_step(activation, optimizer) -> None:
    x, y = blobs(12)
    model = MLP((4, 9, 5, 3), activation, optimizer=optimizer, dtype=np.float64)
    twin = _numpy_step.NumpyNet(model)
    for _ in range(4):
        assert model.train_step(x, y) == pytest.approx(twin.step(x, y), rel=1e-11)
    np.testing.assert_allclose(twin.layers[0][0][0], model.weights[0], rtol=1e-9, atol=1e-12)


def test_gelu_is_its_tanh_form(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((12, 4)), rng.integers(0, 3, 12)
    losses = []
    for activation in ("gelu", "gelu_tanh"):
        model = MLP((4, 9, 3), activation, dtype=np.float64)
        losses.append(_numpy_step.NumpyNet(model).step(x, y))
        assert model.train_step(x, y) == pytest.approx(losses[-1], rel=1e-3)
    assert losses[0] == losses[1]


def test_an_activation_that_numpy_has_not_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(_numpy_step.ACTIVATIONS, "relu")
    assert main(["train", "--epochs", "1", "--layers", "64,9,10"]) == 0
    (step,) = re.findall(r"^step +(.*)$", capsys.readouterr().out, re.M)
    assert step == "not timed: there is no relu in plain numpy's step"

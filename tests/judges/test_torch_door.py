"""fastgrad.torch beside torch's own linear, on random large layers, and MLPs beside modules.

Values and first derivatives are held to torch's in float64, with torch.testing.assert_close and its
tolerances of the dtype; a module that becomes a model predicts the bits of fastgrad.torch.Linear.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
from fastgrad import torch as door  # noqa: E402
from fastgrad.torch.layer import ACTIVATIONS  # noqa: E402

nn: Any = torch.nn
CASES = 8


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_layers(dtype: str, activation: str | None, rng: Any) -> None:
    kind = getattr(torch, dtype)
    for _ in range(CASES):
        lead = tuple(int(n) for n in rng.integers(1, 40, rng.integers(0, 3)))
        k, m = (int(n) for n in rng.integers(1, 700, 2))
        given = [rng.standard_normal(s) for s in ((*lead, k), (m, k), (m,), (*lead, m))]
        given[1] /= np.sqrt(k)
        x, w, b, g = (torch.from_numpy(a.astype(dtype)) for a in given)
        if rng.random() < 0.5:  # the other order in memory
            w = w.T.contiguous().T
        needs = [True, True, True] if rng.random() < 0.5 else [False, True, False]
        ours = [t.detach().requires_grad_(n) for t, n in zip((x, w, b), needs, strict=True)]
        wide = [
            t.detach().double().requires_grad_(n) for t, n in zip((x, w, b), needs, strict=True)
        ]
        y = door.linear(*ours, activation)
        wanted = ACTIVATIONS[activation][0](nn.functional.linear(*wide))
        if activation == "relu":  # at the kink rounding decides
            g = g * (wanted.abs() > 1e-4)
        y.backward(g)
        wanted.backward(g.double())
        found = [y.detach(), *(t.grad for t in ours if t.grad is not None)]
        truth = [wanted.detach(), *(t.grad for t in wide if t.grad is not None)]
        for a, c in zip(found, truth, strict=True):
            near = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {}
            torch.testing.assert_close(a, c.to(kind), **near)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_modules_become_models(dtype: str, rng: Any) -> None:
    makes = {
        "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU,
        "gelu_tanh": lambda: nn.GELU("tanh"), "silu": nn.SiLU,
    }  # fmt: skip
    for _ in range(CASES):
        sizes = [int(n) for n in rng.integers(1, 200, rng.integers(2, 6))]
        names = [str(n) for n in rng.choice([*makes, "none"], len(sizes) - 1)]
        plain: list[Any] = []
        fused: list[Any] = []
        for k, m, name in zip(sizes[:-1], sizes[1:], names, strict=True):
            plain += [nn.Linear(k, m), *([] if name == "none" else [makes[name]()])]
            fused += [door.Linear(k, m, activation=None if name == "none" else name)]
            fused[-1].load_state_dict(
                next(p for p in plain[::-1] if type(p) is nn.Linear).state_dict()
            )
        net, same = (nn.Sequential(*layers).to(getattr(torch, dtype)) for layers in (plain, fused))
        x = torch.from_numpy(
            rng.standard_normal((int(rng.integers(1, 90)), sizes[0])).astype(dtype)
        )
        with torch.no_grad():
            model, logits = door.to_mlp(net, loss="mse"), same(x)
            assert np.array_equal(model.forward(x.numpy()), logits.numpy())
            assert np.array_equal(door.to_mlp(same, loss="mse").forward(x.numpy()), logits.numpy())
            torch.testing.assert_close(logits, net(x))
            torch.testing.assert_close(door.to_module(model)(x), net(x), rtol=0, atol=0)

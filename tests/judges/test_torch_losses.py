"""PyTorch's losses, its samples of them and its gradcheck, beside ours.

Optional, as test_torch_linear. Expected values are torch's in float64; an error is counted as in
netlib's testers, in units of eps times the sum of the magnitudes of the terms, and stays below 16:
loss and gradient alike, at ordinary logits and at ±1e4. Of the samples those are taken that ours
can state: the mean, without weights of classes, on one batch axis or, element by element, any but
none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgrad import binary_cross_entropy_with_logits, mse, softmax_cross_entropy
from support import netlib
from support.pytorch import F, operations, torch

by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
SPREADS = (1.0, 30.0, 1e4)
by_spread = pytest.mark.parametrize("spread", SPREADS)
SHAPES = ((1, 1), (1, 10), (7, 3), (64, 10), (513, 17), (1030, 5))
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def _theirs(loss: Any, z: Any, *target: Any, **options: Any) -> tuple[float, Any]:
    """torch's loss and gradient in float64."""
    leaf = torch.from_numpy(z.astype(np.float64)).requires_grad_()
    value = loss(leaf, *target, **options)
    value.backward()
    return value.item(), leaf.grad.numpy()


def _check(
    ours: tuple[float, Any],
    theirs: tuple[float, Any],
    loss_gauge: float,
    grad_gauge: Any,
    dtype: str,
) -> None:
    assert ours[1].dtype == dtype and ours[1].shape == theirs[1].shape
    info = np.finfo(dtype)
    loss = abs(ours[0] - theirs[0]) / (info.eps * loss_gauge + info.smallest_subnormal)
    allowed = info.eps * grad_gauge + info.smallest_subnormal
    grad = np.max(np.abs(ours[1] - theirs[1]) / allowed)
    print(f"loss {loss:.2f}, gradient {grad:.2f}")
    assert loss < netlib.THRESHOLD and grad < netlib.THRESHOLD


def _softmax(z: Any, t: Any, smoothing: float) -> tuple[float, Any]:
    """Gauges of softmax cross-entropy: z (N, M) logits, t (N, M) probabilities, both float64."""
    t = (1 - smoothing) * t + smoothing / z.shape[1]
    below = z.max(1, keepdims=True) - z
    sums = np.exp(-below).sum(1, keepdims=True)
    p = np.exp(-below) / sums
    loss = (t * (below + np.maximum(1, np.log(sums)))).sum() / len(z)  # the 1: sums are rounded
    return float(loss), (p * (1 + below) + t) / len(z)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@by_shape
@by_spread
@by_dtype
def test_softmax_cross_entropy(
    dtype: str, spread: float, shape: tuple[int, int], kind: str, smoothing: float, rng: Any
) -> None:
    z = rng.uniform(-spread, spread, shape).astype(dtype)
    labels = rng.integers(0, shape[1], shape[0])
    probabilities = np.eye(shape[1])[labels]
    if kind == "probabilities":
        probabilities = rng.dirichlet(np.ones(shape[1]), shape[0]).astype(dtype)
    given = labels if kind == "labels" else probabilities
    target = torch.from_numpy(given if kind == "labels" else given.astype(np.float64))
    theirs = _theirs(F.cross_entropy, z, target, label_smoothing=smoothing)
    gauges = _softmax(z.astype(np.float64), probabilities.astype(np.float64), smoothing)
    _check(softmax_cross_entropy(z, given, smoothing), theirs, *gauges, dtype)


@pytest.mark.parametrize("targets", ["0 and 1", "between"])
@by_shape
@by_spread
@by_dtype
def test_binary_cross_entropy_with_logits(
    dtype: str, spread: float, shape: tuple[int, int], targets: str, rng: Any
) -> None:
    z = rng.uniform(-spread, spread, shape).astype(dtype)
    t = rng.random(shape).astype(dtype)
    t = np.round(t) if targets == "0 and 1" else t
    wide = torch.from_numpy(t.astype(np.float64))
    value, gradient = _theirs(F.binary_cross_entropy_with_logits, z, wide)
    x = z.astype(np.float64)
    # torch's sigmoid is 0 below -709.8, where exp(-x) is infinite: 1e-309 too little, ours is not
    gradient = np.where(x < -700, (np.exp(np.minimum(x, 0)) - t) / x.size, gradient)
    loss = (np.maximum(x, 0) + np.abs(x * t) + np.log1p(np.exp(-np.abs(x)))).mean()
    grad = (1 / (1 + np.exp(-np.maximum(x, -700))) + t) / x.size
    ours = binary_cross_entropy_with_logits(z, t)
    _check(ours, (value, gradient), float(loss), grad, dtype)


@by_shape
@by_spread
@by_dtype
def test_mse(dtype: str, spread: float, shape: tuple[int, int], rng: Any) -> None:
    p, t = (rng.uniform(-spread, spread, shape).astype(dtype) for _ in range(2))
    theirs = _theirs(F.mse_loss, p, torch.from_numpy(t.astype(np.float64)))
    distance = np.abs(p.astype(np.float64) - t)
    _check(mse(p, t), theirs, float((distance**2).mean()), 2 * distance / p.size, dtype)


# torch's samples, and gradcheck -----------------------------------------------------------------

LOSSES = {
    "nn.functional.cross_entropy": (softmax_cross_entropy, F.cross_entropy),
    "nn.functional.binary_cross_entropy_with_logits": (
        binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
    ),
    "nn.functional.mse_loss": (mse, F.mse_loss),
}
# how many of torch's samples are taken at least
COUNTS = dict(zip(LOSSES, (4, 5, 3), strict=True))
by_name = pytest.mark.parametrize("name", LOSSES)
by_layout = pytest.mark.parametrize("contiguous", [True, False], ids=["contiguous", "strided"])


def _samples(name: str, dtype: str, contiguous: bool) -> list[tuple[Any, Any]]:
    """(input, target) of the samples that ours can state."""
    torch.manual_seed(0)
    (operation,) = (o for o in operations.op_db if (o.name, o.variant_test_name) == (name, ""))
    taken = []
    for sample in operation.sample_inputs("cpu", getattr(torch, dtype), requires_grad=False):
        z, t = sample.input, sample.args[0]
        stated = z.ndim == 2 if LOSSES[name][0] is softmax_cross_entropy else z.ndim > 0
        if not stated or sample.kwargs not in ({}, {"reduction": "mean"}):
            continue
        if name == "nn.functional.cross_entropy" and t.is_floating_point():
            t = t / t.sum(1, keepdim=True)  # ours are probabilities
        common = torch.testing._internal.common_utils
        taken.append((z, t) if contiguous else (common.noncontiguous_like(z), t))
    assert len(taken) >= COUNTS[name]
    return taken


@by_name
@by_layout
@by_dtype
def test_samples_of_losses(dtype: str, contiguous: bool, name: str) -> None:
    ours, theirs = LOSSES[name]
    for z, t in _samples(name, dtype, contiguous):
        leaf = z.clone().double().requires_grad_()
        expected = theirs(leaf, t.double() if t.is_floating_point() else t)
        expected.backward()
        loss, gradient = ours(z.numpy(), t.numpy())
        found = [torch.tensor(loss, dtype=z.dtype), torch.from_numpy(gradient)]
        torch.testing.assert_close(found, [t.to(z.dtype) for t in (expected.detach(), leaf.grad)])


class Loss(torch.autograd.Function):
    """One of our losses, of an input and a target that has no gradient."""

    @staticmethod
    def forward(ctx: Any, z: Any, t: Any, ours: Any) -> Any:
        loss, gradient = ours(z.detach().numpy(), t.numpy())
        ctx.save_for_backward(torch.from_numpy(gradient))
        return torch.tensor(loss, dtype=z.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0], None, None


@by_name
@by_layout
def test_gradcheck_of_losses(contiguous: bool, name: str) -> None:
    for z, t in _samples(name, "float64", contiguous):
        leaf = z.detach().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, t=t: Loss.apply(x, t, LOSSES[name][0]), (leaf,))

"""PyTorch's sample inputs of its products and of linear, and its gradcheck, on ours.

Optional: they are read from the torch that is installed (torch.testing, which wants expecttest).
Products are held to netlib's test ratio, layers to torch.testing.assert_close with its tolerances
of the dtype; expected values are torch's in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn
from support import netlib
from support.pytorch import F, operations, torch

ACTIVATIONS: dict[str | None, Any] = {
    None: lambda z: z,
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
}
by_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
by_layout = pytest.mark.parametrize("contiguous", [True, False], ids=["contiguous", "strided"])


def _samples(name: str, dtype: str, contiguous: bool, requires_grad: bool) -> list[Any]:
    torch.manual_seed(0)
    (operation,) = (o for o in operations.op_db if (o.name, o.variant_test_name) == (name, ""))
    samples = operation.sample_inputs("cpu", getattr(torch, dtype), requires_grad=requires_grad)
    return [sample if contiguous else sample.noncontiguous() for sample in samples]


def _close(ours: Any, theirs: Any) -> None:
    """ours (an array) and theirs (float64)"""
    assert ours.shape == tuple(theirs.shape)
    found = torch.from_numpy(np.array(ours))
    torch.testing.assert_close(found, theirs.detach().to(found.dtype))


def _ratio(ours: Any, a: Any, b: Any, c: Any = None, alpha: float = 1, beta: float = 0) -> float:
    """netlib's, of ours = alpha·a·b + beta·c."""
    a, b = (a * alpha).double(), b.double()
    expected, gauge = a @ b, a.abs() @ b.abs()
    if c is not None:
        expected, gauge = expected + beta * c.double(), gauge + abs(beta) * c.abs().double()
    assert ours.shape == tuple(expected.shape)
    high, gauge = expected.numpy(), gauge.numpy()
    return netlib.ratio(np.asarray(ours), high, np.zeros_like(high), gauge)


# Products ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mm", "mv", "bmm", "matmul", "__rmatmul__"])
@by_layout
@by_dtype
def test_samples_of_products(dtype: str, contiguous: bool, name: str) -> None:
    samples = _samples(name, dtype, contiguous, False)
    assert samples
    for sample in samples:
        a, b = sample.input, sample.args[0]
        if name == "__rmatmul__":
            a, b = b, a
        found = [matmul(a.numpy(), b.numpy())]
        if a.ndim > 1 and b.ndim > 1:
            found.append(matmul_tn(a.mT.contiguous().numpy(), b.numpy()))
            found.append(matmul_nt(a.numpy(), b.mT.contiguous().numpy()))
        for c in found:
            assert _ratio(c, a, b) < netlib.THRESHOLD


@pytest.mark.parametrize("name", ["addmm", "baddbmm"])
@by_layout
@by_dtype
def test_samples_of_accumulated_products(dtype: str, contiguous: bool, name: str) -> None:
    """beta·C + alpha·A·B: beta multiplied into C, alpha into A, before the call."""
    for sample in _samples(name, dtype, contiguous, False):
        c, (a, b) = sample.input, sample.args
        alpha, beta = sample.kwargs["alpha"], sample.kwargs["beta"]
        out = (beta * c).expand((a @ b).shape).clone().numpy()
        found = matmul((alpha * a).numpy(), b.numpy(), out=out, accumulate=True)
        assert _ratio(found, a, b, c, alpha, beta) < netlib.THRESHOLD


# Layers -----------------------------------------------------------------------------------------


class Linear(torch.autograd.Function):
    """act(x·Wᵀ + b) of torch's weight (out, in), by our functions, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, activation: str | None) -> Any:
        z = np.empty((*x.shape[:-1], len(weight)), x.detach().numpy().dtype)
        y = linear_forward(
            x.detach().numpy(),
            weight.detach().numpy().T,
            None if bias is None else bias.detach().numpy(),
            activation,
            preactivation_out=z,
        )
        output = torch.from_numpy(y)
        ctx.save_for_backward(x, weight, output, torch.from_numpy(z))
        ctx.activation = activation
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        x, weight, output, z = (t.detach().numpy() for t in ctx.saved_tensors)
        weight_grad = np.full_like(weight, np.nan) if ctx.needs_input_grad[1] else None
        grads = linear_backward(
            g.numpy(),
            x,
            weight.T,
            ctx.activation,
            output=output,
            preactivation=z,
            needs=tuple(ctx.needs_input_grad[:3]),
            out=(None, None if weight_grad is None else weight_grad.T, None),
        )
        by_input = (grads.x, weight_grad, grads.bias)
        return (*(a if a is None else torch.from_numpy(a) for a in by_input), None)


def _leaves(sample: Any) -> list[Any]:
    """x, weight and perhaps bias of a sample of linear, requiring gradients."""
    return [t.detach().requires_grad_() for t in (sample.input, *sample.args)]


@by_activation
@by_layout
@by_dtype
def test_samples_of_linear(dtype: str, contiguous: bool, activation: str | None) -> None:
    """Output and all gradients of each sample are torch's."""
    samples = _samples("nn.functional.linear", dtype, contiguous, True)
    assert len(samples) >= 16
    for sample in samples:
        leaves = _leaves(sample)
        ours = Linear.apply(*leaves, *[None] * (3 - len(leaves)), activation)
        doubles = [t.detach().double().requires_grad_() for t in leaves]
        theirs = ACTIVATIONS[activation](F.linear(*doubles))
        _close(ours.detach().numpy(), theirs)
        g = torch.randn_like(ours)
        g = g if contiguous else torch.testing._internal.common_utils.noncontiguous_like(g)
        pairs = zip(
            torch.autograd.grad(ours, leaves, g),
            torch.autograd.grad(theirs, doubles, g.double()),
            strict=True,
        )
        for one, other in pairs:
            _close(one.numpy(), other)


def _subsets(leaves: list[Any]) -> Iterator[list[Any]]:
    """The leaves, with every choice of those that require a gradient, but none."""
    for flags in itertools.product((True, False), repeat=len(leaves)):
        if any(flags):
            yield [t.detach().requires_grad_(f) for t, f in zip(leaves, flags, strict=True)]


@by_activation
@by_layout
def test_gradcheck(contiguous: bool, activation: str | None) -> None:
    """Analytical against numerical Jacobians, of every sample, in float64; the same bits twice."""
    for sample in _samples("nn.functional.linear", "float64", contiguous, True):
        leaves = _leaves(sample)
        rest = [None] * (3 - len(leaves))
        assert torch.autograd.gradcheck(
            lambda *t, rest=rest: Linear.apply(*t, *rest, activation), leaves
        )


@by_activation
def test_gradcheck_of_some_inputs(activation: str | None) -> None:
    """Only those gradients are computed that are asked for."""
    sample = _samples("nn.functional.linear", "float64", True, True)[3]
    for leaves in _subsets(_leaves(sample)):
        assert torch.autograd.gradcheck(lambda *t: Linear.apply(*t, activation), leaves)


def test_gradcheck_of_two_layers() -> None:
    """A graph in which the gradient of one layer is what the other is given."""
    torch.manual_seed(1)
    shapes = ((3, 5), (7, 5), (7,), (4, 7), (4,))
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def both(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
        return Linear.apply(Linear.apply(x, w1, b1, "tanh"), w2, b2, "gelu")

    assert torch.autograd.gradcheck(both, tensors)


def test_gradcheck_finds_a_wrong_gradient() -> None:
    class Wrong(Linear):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, weight, bias, none = Linear.backward(ctx, g)
            return x, weight * (1 + 2e-3), bias, none

    leaves = _leaves(_samples("nn.functional.linear", "float64", True, True)[2])
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda *t: Wrong.apply(*t, None), leaves)

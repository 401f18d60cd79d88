"""What results are compared with: exact integers, and the contract's formula of products, layers,
losses, optimizer steps and whole training steps.

Bits are compared with all NaNs taken as one. Products are plain loops over LLVM's fused
multiply-add, nothing of fastgrad's: contract/test_formula.py compares them with
reference.contract_matmul, and a thousand times as fast they may stand in for it. For a CPU without
fused multiply-add a step is a product and a sum, each rounded: promises 1 to 3 hold there. Losses
and optimizer steps are those of fastgrad.reference.losses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastgrad import MLP, SGD, Adam
from fastgrad._kernels.codegen.target import KC, current
from fastgrad._kernels.formulas.activations import BY_NAME
from fastgrad.reference import losses, oracle

Array = NDArray[Any]


def bits(a: Any) -> Array:
    """The patterns of a float array as integers, one pattern for every NaN."""
    values = np.asarray(a)
    patterns = np.ascontiguousarray(values).view(f"u{values.itemsize}").reshape(values.shape)
    return np.where(
        np.isnan(values), np.array(-1, f"i{values.itemsize}").view(patterns.dtype), patterns
    )


def assert_same_bits(actual: Any, expected: Any, what: str = "") -> None:
    """Shape, dtype and every bit; says how many elements differ and shows the first."""
    x, y = np.asarray(actual), np.asarray(expected)
    if x.shape != y.shape or x.dtype != y.dtype:
        raise AssertionError(f"{what}: {x.shape} {x.dtype}, expected {y.shape} {y.dtype}")
    differ = np.argwhere(bits(x) != bits(y))
    if len(differ):
        at = tuple(int(i) for i in differ[0])
        raise AssertionError(
            f"{what}: {len(differ)} of {x.size} elements differ, the first at {at}: "
            f"{x[at]!r} ({float(x[at]).hex()}), expected {y[at]!r} ({float(y[at]).hex()})"
        )


# --- data ---------------------------------------------------------------------------------------


def floats(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> Array:
    """Normal numbers of mixed size, so that every rounding shows, and zeros of both signs."""
    values = rng.standard_normal(shape) * np.exp2(rng.integers(-3, 4, shape))
    zeros = rng.random(shape)
    values[zeros < 0.04] = 0.0
    values[zeros < 0.02] = -0.0
    return values.astype(dtype)


def integers(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> Array:
    """-4 ... 4: products and sums of up to 2^20 of them are exact in float32."""
    return rng.integers(-4, 5, shape).astype(dtype)


# --- exact --------------------------------------------------------------------------------------


def exact_matmul(a: Array, b: Array) -> Array:
    """np.matmul of small integers in float64, exact in any order; in the dtype of a and b."""
    return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype))


# --- the contract: products ---------------------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if current().isa.fma:
            return builder.fma(*args)
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return a(a, b, c), codegen


@numba.njit(fastmath=False, error_model="numpy", cache=True)  # type: ignore[untyped-decorator]
def _sum(a, b, kc, written, added):  # type: ignore[no-untyped-def]
    """written = (B0 + B1) + ..., added = ((added + B0) + B1) + ...; all C-contiguous."""
    m, depth = a.shape
    n = b.shape[1]
    chains = np.empty(n, a.dtype)
    for i in range(m):
        for start in range(0, depth, kc):
            chains[:] = 0.0
            for k in range(start, min(start + kc, depth)):
                x = a[i, k]
                for j in range(n):
                    chains[j] = _fma(x, b[k, j], chains[j])
            for j in range(n):
                written[i, j] = written[i, j] + chains[j] if start else chains[j]
                added[i, j] += chains[j]


def contract_both(a: Array, b: Array, old: Array | None = None) -> tuple[Array, Array]:
    """a (M, K) · b (K, N) written, and added to old (M, N)."""
    m, n = a.shape[0], b.shape[1]
    if numba.config.DISABLE_JIT:
        return oracle.product(a, b, np.zeros((m, n), a.dtype) if old is None else old)
    if m > n:  # a long inner loop; a·b = b·a
        written, added = contract_both(b.T, a.T, None if old is None else old.T)
        return written.T.copy(), added.T.copy()
    written = np.zeros((m, n), a.dtype)
    added = written.copy() if old is None else np.array(old, a.dtype, order="C")
    if a.shape[1]:
        _sum(np.array(a, order="C"), np.array(b, order="C"), KC[a.dtype.name], written, added)
    return written, added


def contract_product(a: Array, b: Array) -> Array:
    """a (M, K) · b (K, N) -> (M, N)"""
    return contract_both(a, b)[0]


# --- the contract: layers -----------------------------------------------------------------------


def contract_activation(activation: str | None, z: Array) -> Array:
    """act(z) by the numpy back end of the one formula that the kernels run."""
    return oracle.value(activation, z)


def contract_forward(
    x: Array, weight: Array, bias: Array | None, activation: str | None
) -> tuple[Array, Array]:
    """x (N, K), weight (K, M), bias (M,) -> y, z (N, M)"""
    z = contract_both(x, weight)[0]
    with np.errstate(all="ignore"):
        z = z if bias is None else z + bias
    return contract_activation(activation, z), z


class Grads(NamedTuple):
    x: Array
    weight: Array
    bias: Array


def contract_h(g: Array, activation: str | None, saved: Array | None) -> Array:
    """G (N, M), what was saved (N, M) -> H = G ∘ act', rounded."""
    if activation is None or saved is None:
        return g
    return oracle.backward(activation, g, saved)


def contract_backward_both(
    h: Array, x: Array, weight: Array, old: tuple[Array, ...] | None = None
) -> tuple[Grads, Grads]:
    """H (N, M), x (N, K), weight (K, M) -> dX, dW, db written, and added to old gradients."""
    dx, dw, db = old or (None, None, None)
    ones = np.ones((1, len(h)), h.dtype)
    pairs = (
        contract_both(h, weight.T, dx),
        contract_both(x.T, h, dw),
        contract_both(ones, h, None if db is None else db[None]),
    )
    written, added = (Grads(dx, dw, db[0]) for dx, dw, db in zip(*pairs, strict=True))
    return written, added


def saved_for(activation: str | None, y: Array, z: Array) -> dict[str, Any]:
    """The keyword that linear_backward wants after a forward of y and z."""
    if activation is None:
        return {}
    return {"output": y} if BY_NAME[activation].saved == "output" else {"preactivation": z}


# --- the contract: training ---------------------------------------------------------------------

LOSSES = {
    "softmax_cross_entropy": losses.softmax_cross_entropy,
    "binary_cross_entropy_with_logits": losses.binary_cross_entropy_with_logits,
    "mse": losses.mse,
}


def optimizer_step(s: SGD | Adam, p: Array, g: Array, state: tuple[Array, ...], step: int) -> None:
    """In place, in the parameters p and the optimizer's state of them."""
    if isinstance(s, SGD):
        velocity = state[0] if state else None
        losses.sgd_step(p, g, s.lr, velocity, s.momentum, s.nesterov, s.weight_decay)
    else:
        losses.adam_step(p, g, *state, step, s.lr, s.betas, s.eps, s.weight_decay, s.decoupled)


class Training:
    """What `MLP.train_step` does, from the parameters that the model has now."""

    def __init__(self, model: MLP) -> None:
        self.model, self.steps = model, 0
        self.params = [v.copy() for v in (*model.weights, *model.biases)]
        slots = model.optimizer.slots
        self.states = [tuple(np.zeros_like(p) for _ in range(slots)) for p in self.params]

    def step(self, x: Array, target: Array) -> float:
        layers, act = len(self.params) // 2, self.model.activation
        weights, biases = self.params[:layers], self.params[layers:]
        acts = [act] * (layers - 1) + [None]
        inputs, saved = [x], []
        for w, b, name in zip(weights, biases, acts, strict=True):
            y, z = contract_forward(inputs[-1], w, b, name)
            inputs.append(y)
            saved.append(next(iter(saved_for(name, y, z).values()), None))
        loss, g = LOSSES[self.model.loss](inputs[-1], target)
        grads: list[Any] = [None] * (2 * layers)
        for i in reversed(range(layers)):
            h = contract_h(g, acts[i], saved[i])
            g, grads[i], grads[layers + i] = contract_backward_both(h, inputs[i], weights[i])[0]
        self.steps += 1
        for p, grad, state in zip(self.params, grads, self.states, strict=True):
            optimizer_step(self.model.optimizer, p, grad, state, self.steps)
        return loss

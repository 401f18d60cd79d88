"""Which calls compiled code answers alone, and which it leaves to Python."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numba import njit

import fastgrad
from fastgrad._kernels.bind import gateway
from fastgrad._kernels.bind.records import CHECKED
from fastgrad._kernels.gemm.dispatch import gemm
from fastgrad._kernels.runtime.table import OUT_OF_MEMORY
from support.oracles import assert_same_bits, floats
from support.slots import replaced


@njit
def plain(x, weight, bias, labels, velocity):  # type: ignore[no-untyped-def]
    """A step of training; a row, a stack; views; out and accumulate."""
    z = np.empty((len(x), weight.shape[1]), x.dtype)
    y = fastgrad.linear_forward(x, weight, bias, "gelu", preactivation_out=z)
    loss, g = fastgrad.softmax_cross_entropy(y, labels)
    grads = fastgrad.linear_backward(g, x, weight, "gelu", preactivation=z)
    fastgrad.linear_backward(
        g[::2], x[::2], weight, out=(None, grads.weight, None), accumulate=True
    )
    fastgrad.sgd_step(weight, grads.weight, 0.1, velocity, momentum=0.9)
    fastgrad.adam_step(weight, grads.weight, velocity, np.ones_like(velocity), 7)
    fastgrad.matmul(x[0], weight)
    fastgrad.matmul_nt(x, x[::-1])
    fastgrad.matmul_tn(x, g)
    fastgrad.linear_forward(x[0], weight)
    fastgrad.linear_forward(x.reshape(2, -1, x.shape[1]), weight, activation="relu")
    return loss + fastgrad.mse(y, z)[0]


@njit
def one(a, b):  # type: ignore[no-untyped-def]
    return fastgrad.matmul(a, b)


@njit
def small_steps(z, labels, w, g, shares):  # type: ignore[no-untyped-def]
    """Labels of 32 bits, an integer where a float is meant."""
    loss, _ = fastgrad.softmax_cross_entropy(z, labels)
    fastgrad.sgd_step(w, g, 1)
    fastgrad.adam_step(w, g, np.ones_like(w), np.ones_like(w), 1, 1, weight_decay=1)
    fastgrad.adam_step(w, g, np.ones_like(w), np.ones_like(w), np.uint8(2), np.int32(1))
    fastgrad.sgd_step(w, g, np.int16(1), None, False, False, np.uint32(1))
    return loss + fastgrad.binary_cross_entropy_with_logits(z, shares)[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Statuses that Python is called with."""
    statuses: list[int] = []
    python = gateway.python

    def listed(descriptor: int, status: int) -> int:
        statuses.append(status)
        return python(descriptor, status)

    monkeypatch.setattr(gateway, "python", listed)
    return statuses


def test_plain_calls_are_not_left_to_python(rng: np.random.Generator, asked: list[int]) -> None:
    x, weight, bias, velocity = (floats(rng, *s) for s in ((8, 5), (5, 3), (3,), (5, 3)))
    plain(x, weight, bias, rng.integers(0, 3, 8), velocity)
    assert asked == []


def test_others_are(rng: np.random.Generator, asked: list[int]) -> None:
    """Stacks that broadcast; leading dimensions that no one stride leads through."""
    a, b = floats(rng, 2, 1, 3, 4), floats(rng, 3, 4, 5)
    for left, right in ((a, b), (floats(rng, 4, 5, 2, 4)[:, ::2], b[0])):
        found = one(left, right)
        assert asked and {*asked} == {CHECKED}
        assert_same_bits(found, fastgrad.matmul(left, right))
        asked.clear()


def test_stacks_and_other_dtypes_are_not(rng: np.random.Generator, asked: list[int]) -> None:
    """Each operand is converted in compiled code where it has to be."""
    a, b = floats(rng, 3, 4), floats(rng, 4, 5)
    pairs = [(a.astype(np.int64), b), (a, b.astype(np.float64)), (a.astype(bool), b.astype("i1"))]
    for left, right in (*pairs, (a[None], b[None]), (a[None], b), (a, b[None])):
        assert_same_bits(one(left, right), fastgrad.matmul(left, right))
    assert asked == []


@njit
def layers(x, weight, bias):  # type: ignore[no-untyped-def]
    z = np.empty((len(weight), x.shape[-2], weight.shape[2]), x.dtype)
    y = fastgrad.linear_forward(x, weight, bias, "silu", preactivation_out=z)
    grads = fastgrad.linear_backward(y, x, weight, "silu", preactivation=z)
    fastgrad.linear_backward(y, x, weight, out=(None, grads.weight, None), accumulate=True)
    return y, grads


def test_stacks_of_layers_are_not(rng: np.random.Generator, asked: list[int]) -> None:
    weight, bias = floats(rng, 3, 5, 4), floats(rng, 3, 4)
    for x in (floats(rng, 3, 6, 5), floats(rng, 6, 5), floats(rng, 3, 12, 5)[:, ::2]):
        y, grads = layers(x, weight, bias)
        assert asked == []
        wanted, others = layers.py_func(x, weight, bias)
        assert_same_bits(y, wanted)
        for one, other in zip(grads, others, strict=True):
            assert_same_bits(one, other)


def test_numbers_and_labels_of_other_types_are_not(
    rng: np.random.Generator, asked: list[int]
) -> None:
    z, labels = floats(rng, 8, 3), rng.integers(0, 3, 8).astype(np.int32)
    g, shares = floats(rng, 5, 3), np.abs(floats(rng, 8, 3)) % 1
    w = floats(rng, 5, 3)
    right = w.copy()
    loss = small_steps(z, labels, w, g, shares)
    assert asked == []
    assert loss == small_steps.py_func(z, labels, right, g, shares)
    assert_same_bits(w, right)


def test_no_memory() -> None:
    """What a kernel says is what is raised."""
    a = np.ones((3, 3), np.float32)
    one(a, a)
    with (
        replaced(gemm.slot("float32"), by=lambda address: OUT_OF_MEMORY),
        pytest.raises(MemoryError, match="no memory for the scratch of a kernel"),
    ):
        one(a, a)
    assert (one(a, a) == 3).all()


def test_a_users_function_holds_no_kernel() -> None:
    """It is small, computes nothing with floats, and knows one address of ours."""
    one(np.ones((2, 2)), np.ones((2, 2)))
    (code,) = {one.inspect_llvm(s) for s in one.signatures if s[0].dtype.name == "float64"}
    ours = set(re.findall(r"@(fastgrad\w*)", code))
    assert ours == {"fastgrad_table"}
    assert not re.search(r"\bf(mul|add)\b|llvm\.fma", code)
    assert len(code.splitlines()) < 1500

"""Losses, optimizer steps and numbers of threads from compiled code: as from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

import fastgrad
from fastgrad import adam_step, binary_cross_entropy_with_logits, sgd_step, softmax_cross_entropy
from support.compiled import DTYPES
from support.layouts import laid_out
from support.oracles import assert_same_bits, floats

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@njit
def losses(z, labels, targets, smoothing):  # type: ignore[no-untyped-def]
    return (
        softmax_cross_entropy(z, labels),
        softmax_cross_entropy(z, labels, label_smoothing=smoothing),
        binary_cross_entropy_with_logits(z, targets),
        fastgrad.mse(z, targets),
        fastgrad.mse(z[0], target=targets[0]),
    )


@njit
def cross_entropy(z, labels, smoothing):  # type: ignore[no-untyped-def]
    return softmax_cross_entropy(z, labels, smoothing)


@njit
def steps(p, g, u, v, lr):  # type: ignore[no-untyped-def]
    sgd_step(p, g, lr)
    sgd_step(p, g, lr, u, momentum=0.9, nesterov=True, weight_decay=0.01)
    sgd_step(p, g, 1, None, 0.0)
    adam_step(p, g, u, v, 3)
    adam_step(p, g, m=u, v=v, step=4, lr=lr, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1)


@njit
def any_sgd(p, g, lr, u, momentum, nesterov):  # type: ignore[no-untyped-def]
    sgd_step(p, g, lr, u, momentum, nesterov)


@njit
def any_adam(p, g, u, v, step, beta):  # type: ignore[no-untyped-def]
    adam_step(p, g, u, v, step, betas=(beta, 0.999))


@njit
def threads(n):  # type: ignore[no-untyped-def]
    before = fastgrad.get_num_threads()
    fastgrad.set_num_threads(n)
    now = fastgrad.get_num_threads()
    fastgrad.set_num_threads(before)
    return now


def assert_same(actual: Any, expected: Any) -> None:
    for (loss, grad), (right, its_grad) in zip(actual, expected, strict=True):
        assert type(loss) is float and np.float64(loss).tobytes() == np.float64(right).tobytes()
        assert_same_bits(grad, its_grad)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_losses(rng: np.random.Generator, dtype: str) -> None:
    z = floats(rng, 700, 13, dtype=dtype)
    targets, labels = rng.random(z.shape).astype(dtype), rng.integers(0, 13, 700)
    assert_same(losses(z, labels, targets, 0.1), losses.py_func(z, labels, targets, 0.1))
    args = (laid_out(z, "F"), labels.repeat(2)[::2], laid_out(targets, "both reversed, strided"))
    assert_same(losses(*args, 1.0), losses.py_func(*args, 1.0))


def test_labels_of_other_kinds(rng: np.random.Generator) -> None:
    z = floats(rng, 30, 5)
    rows = rng.dirichlet(np.ones(5), 30)
    for labels in (rng.integers(0, 5, 30).astype(np.uint8), rows, rows.astype(np.float32)):
        for smoothing in (0, 0.25):
            args = (z, labels, smoothing)
            assert_same([cross_entropy(*args)], [softmax_cross_entropy(*args)])


def test_wrong_losses(rng: np.random.Generator) -> None:
    z, labels = floats(rng, 4, 3), np.array([0, 2, 3, 1])
    cases: list[tuple[Any, ...]] = [
        (z, labels, 0.0),
        (z, labels[:3], 0.0),
        (z, labels % 3, 1.5),
        (z[:0], labels[:0], 0.0),
        (z, -labels, 0.0),
    ]
    for args in cases:
        with pytest.raises(ValueError) as right:
            softmax_cross_entropy(*args)
        with pytest.raises(ValueError) as actual:
            cross_entropy(*args)
        assert str(actual.value) == str(right.value)
    with pytest.raises(TypingError, match="labels has dtype float32, expected integers"):
        cross_entropy(z, z[0], 0.0)
    with pytest.raises(TypingError, match="logits has dtype complex64, expected float32"):
        cross_entropy(z + 0j, labels, 0.0)


@each_dtype
def test_steps(rng: np.random.Generator, dtype: str) -> None:
    """Contiguous arrays, which kernels change, and others."""
    shape = (300, 230) if dtype == "float32" else (3, 5)
    before = [np.abs(floats(rng, *shape, dtype=dtype)) for _ in range(4)]
    for layout in ("C", "F", "rows reversed"):
        actual, expected = ([laid_out(a, layout) for a in before] for _ in range(2))
        steps(*actual, 0.05)
        steps.py_func(*expected, 0.05)
        for one, other, old in zip(actual, expected, before, strict=True):
            assert_same_bits(one, other, layout)
            assert one is actual[1] or (one != old).any()


def test_wrong_steps(rng: np.random.Generator) -> None:
    p, g, u, v = (np.abs(floats(rng, 6)) for _ in range(4))
    cases: list[tuple[Any, Any, Any]] = [
        (sgd_step, any_sgd, (p, g, -1.0, u, 0.5, False)),
        (sgd_step, any_sgd, (p, g, 0.1, u, 1.0, False)),
        (sgd_step, any_sgd, (p, g, 0.1, u, 0.0, True)),
        (sgd_step, any_sgd, (p, g, 0.1, None, 0.5, True)),
        (sgd_step, any_sgd, (p, g[1:], 0.1, u, 0.5, True)),
        (sgd_step, any_sgd, (p, g, 0.1, p, 0.5, True)),
        (adam_step, any_adam, (p, g, u, v, 0, 0.9)),
        (adam_step, any_adam, (p, g, u, v[1:], 1, 0.9)),
        (adam_step, any_adam, (p, g, u, u, 1, 0.9)),
        (adam_step, any_adam, (p, g, u, v, 1, 1.5)),
    ]
    for function, compiled, args in cases:
        before = p.copy()
        with pytest.raises(ValueError) as right:
            if function is adam_step:
                adam_step(*args[:5], betas=(args[5], 0.999))
            else:
                sgd_step(*args)
        with pytest.raises(ValueError) as actual:
            compiled(*args)
        assert str(actual.value) == str(right.value)
        assert_same_bits(p, before)
    with pytest.raises(TypingError, match="grad has dtype float64 but param has float32"):
        any_sgd(p, g.astype(np.float64), 0.1, u, 0.5, False)
    with pytest.raises(TypingError, match="lr is '', not a number"):
        any_sgd(p, g, "fast", u, 0.5, False)


def test_threads() -> None:
    before = fastgrad.get_num_threads()
    assert threads(3) == 3
    assert fastgrad.get_num_threads() == before
    with pytest.raises(ValueError, match=r"^set_num_threads: n is 65, expected a whole number"):
        threads(65)
    with pytest.raises(TypingError, match="set_num_threads: n is of type float, expected a whole"):
        threads(1.5)

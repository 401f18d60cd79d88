"""Kernels of optimizers: every bit of the numpy formula, for any length and number of threads."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import pytest

from fastgrad import num_threads
from fastgrad._kernels.layer import optimizers as optim
from fastgrad._kernels.layer.args import Adam, Sgd, Squares
from fastgrad._kernels.layer.clipping import clip_layers
from fastgrad._kernels.runtime.registry import Kernel
from fastgrad._ops.kernel_call import bits, data, run
from fastgrad.reference import losses as reference
from support import edges, watch
from support.assembly import assembly, library_calls
from support.layouts import place
from support.oracles import assert_same_bits, floats

DTYPES = ["float32", "float64"]
FLOAT32 = np.dtype("float32")
needs_fma = pytest.mark.skipif(not edges.ISA.fma, reason="the contract's bits need FMA")
SIZES = (0, 1, 7, 16, 31, 33, 1000, optim.CHUNK + 1, optim.SHARED, optim.SHARED + 5)
SGD_SETTINGS = [  # momentum, nesterov, weight decay
    (0.0, False, 0.0),
    (0.0, False, 0.01),
    (0.9, False, 0.0),
    (0.9, False, 0.01),
    (0.99, True, 0.0),
    (0.5, True, 0.1),
]


def draw(rng: np.random.Generator, count: int, n: int, dtype: str) -> list[Any]:
    """Arrays with rogue bytes around them; a few values are not finite."""
    arrays = []
    for _ in range(count):
        values = floats(rng, n, dtype=dtype)
        odd = rng.random(n) < 0.01
        values[odd] = rng.choice([np.inf, -np.inf, np.nan, 1e-45, 1e38], np.count_nonzero(odd))
        arrays.append(place(values))
    return arrays


def check(placed: list[Any], expected: list[Any], what: str) -> None:
    for p, values in zip(placed, expected, strict=True):
        assert_same_bits(p.array, values, what)
        assert p.intact(), f"{what}: wrote beyond an end"


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("momentum", "nesterov", "decay"), SGD_SETTINGS)
def test_sgd(momentum, nesterov, decay, dtype, threads, rng) -> None:
    for n in SIZES:
        placed = draw(rng, 3, n, dtype)
        expected = [p.array.copy() for p in placed]
        reference.sgd_step(expected[0], expected[1], 0.3, expected[2], momentum, nesterov, decay)
        with num_threads(threads):
            words = (data(p.array) for p in placed)
            numbers = bits(0.3), bits(momentum), int(nesterov), bits(decay)
            run(optim.sgd, np.dtype(dtype), Sgd(n, *words, *numbers))
        check(placed, expected, f"{n} elements")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("step", "decay"), [(1, 0.0), (2, 0.01), (123, 0.0), (10**9, 0.1)])
def test_adam(step, decay, dtype, threads, rng) -> None:
    for n in SIZES:
        placed = draw(rng, 4, n, dtype)
        np.abs(placed[3].array, out=placed[3].array)
        expected = [p.array.copy() for p in placed]
        reference.adam_step(*expected, step, 0.01, (0.9, 0.995), 1e-7, decay, True)
        numbers = (0.01, 0.9, 0.995, 1e-7, decay)
        with num_threads(threads):
            words = (data(p.array) for p in placed)
            run(optim.adam, np.dtype(dtype), Adam(n, *words, step, *map(bits, numbers), 1))
        check(placed, expected, f"{n} elements")


def test_adam_at_extreme_settings(rng) -> None:
    for betas in ((0.0, 0.0), (0.999999, 1 - 2**-53), (0.5, 0.1)):
        for step in (1, 2, 3, 2**63 - 1):
            placed = draw(rng, 4, 40, "float32")
            expected = [p.array.copy() for p in placed]
            reference.adam_step(*expected, step, 1e30, betas, 0.0, 1e-30, True)
            numbers = (1e30, *betas, 0.0, 1e-30)
            words = [data(p.array) for p in placed]
            run(optim.adam, FLOAT32, Adam(40, *words, step, *map(bits, numbers), 1))
            check(placed, expected, f"betas {betas}, step {step}")


def test_momentum_of_zero_leaves_the_velocity_alone(rng) -> None:
    placed = draw(rng, 3, 50, "float32")
    p, g, v = (p.array.copy() for p in placed)
    words = [data(p.array) for p in placed]
    run(optim.sgd, FLOAT32, Sgd(50, *words, bits(0.1), bits(0.0), 0, bits(-0.0)))
    reference.sgd_step(p, g, 0.1)
    check(placed, [p, g, v], "momentum 0")


@needs_fma
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_squares(dtype: str, threads: int, rng: np.random.Generator) -> None:
    for n in (0, 1, 31, 32, 33, 1000, optim.CHUNK, optim.CHUNK + 1, optim.SHARED + 17):
        placed = place(floats(rng, n, dtype=dtype))
        g, found = placed.array.copy(), ctypes.c_double()
        with num_threads(threads):
            args = Squares(n, data(placed.array), bits(1.0), ctypes.addressof(found))
            run(optim.squares, np.dtype(dtype), args)
        assert found.value == reference.squares(g)
        check([placed], [g], f"{n} elements")


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_arrays_are_shared_between_threads(dtype, rng, monkeypatch) -> None:
    """Both threads do tasks, all tasks are done once; small arrays are one task."""
    monkeypatch.setattr(watch, "KERNELS", (optim.update,))
    for n, tasks in ((optim.SHARED - 1, 1), (optim.SHARED + 5, optim.SHARED // optim.CHUNK + 1)):
        placed = draw(rng, 4, n, dtype)
        np.abs(placed[3].array, out=placed[3].array)
        words = [data(p.array) for p in placed]
        expected = [p.array.copy() for p in placed]
        reference.adam_step(*expected, 3, 0.01)
        meet = ("update",) if tasks > 1 else ()
        with num_threads(2), watch.Watch(dtype, *meet) as seen:
            numbers = map(bits, (0.01, 0.9, 0.999, 1e-8, 0.0))
            run(optim.adam, np.dtype(dtype), Adam(n, *words, 3, *numbers, 1))
        assert seen.met.is_set() == (tasks > 1)
        assert sorted(c.words["task"] for c in seen.calls) == list(range(tasks))
        check(placed, expected, f"{n} elements, watched")


def test_the_order_of_the_sum_matters_here(rng: np.random.Generator) -> None:
    """So that test_sum_of_squares would find another order."""
    draws = [floats(rng, 3000, dtype="float64") for _ in range(20)]
    norms = [reference.norm(g) for g in draws]
    assert norms != [reference.norm(g[::-1]) for g in draws]
    assert norms != [math.sqrt(np.add.accumulate(g * g)[-1]) for g in draws]
    assert norms != [math.sqrt(math.fsum(g * g)) for g in draws]


@pytest.mark.parametrize(
    "kernel", [optim.update, optim.adam, clip_layers], ids=lambda kernel: kernel.name
)
def test_the_code_calls_no_library(kernel: Kernel) -> None:
    """Square roots and fused multiply-adds are instructions."""
    assert not library_calls(assembly(kernel, "float32"))


def test_a_call_of_a_library_would_be_seen() -> None:
    text = "\tcallq\tfastgrad_x\n\tcall\t*%rax\n\tje\t.L1\n\tjmp\tsqrtf@PLT\n\tbl\texp\n"
    assert library_calls(text) == {"sqrtf", "exp"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_and_sums_are_rounded_apart(dtype: str) -> None:
    """A fused multiply-add would give another bit."""
    one, eps = np.dtype(dtype).type(1), np.finfo(dtype).eps
    p, g = np.full(40, one), np.full(40, one + eps)
    args = Sgd(40, data(p), data(g), 0, bits(float(one - eps)), 0, 0, 0)
    run(optim.sgd, np.dtype(dtype), args)
    assert (p == 0).all()  # 1 - (1 + eps)(1 - eps) is eps*eps if the product is not rounded

"""Kernels of losses: every bit of the numpy formula, whatever the shape, layout or value."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from fastgrad import KC
from fastgrad._kernels.codegen import target
from fastgrad._kernels.gemm.args import Matrix
from fastgrad._kernels.layer import losses
from fastgrad._kernels.layer.args import Loss
from fastgrad._kernels.runtime.table import BAD_LABEL, OK
from fastgrad._ops.kernel_call import bits, data, matrix, rows, run
from fastgrad.reference import losses as reference
from support import edges
from support.assembly import assembly, library_calls
from support.layouts import LAYOUTS, Placed, laid_out, place
from support.oracles import assert_same_bits

pytestmark = pytest.mark.skipif(not edges.ISA.fma, reason="the contract's bits need FMA")
DTYPES = ["float32", "float64"]
FORMULAS: dict[str, Any] = {
    "softmax_labels": reference.softmax_cross_entropy,
    "softmax_probabilities": reference.softmax_cross_entropy,
    "binary_cross_entropy": reference.binary_cross_entropy_with_logits,
    "mse": reference.mse,
}


def call(name: str, z: Any, t: Any, smoothing: float = 0.0, grad: Any = None) -> Any:
    """The kernel's status, loss, and gradient."""
    loss = ctypes.c_double(-1.0)
    grad = np.full(z.shape, np.nan, z.dtype) if grad is None else grad
    targets = Matrix(data(t), t.strides[0], 0) if t.ndim == 1 else matrix(t)
    places = matrix(z), targets, rows(grad), ctypes.addressof(loss)
    status = run(losses.LOSSES[name], z.dtype, Loss(*z.shape, *places, bits(smoothing), len(z), 0))
    return status, loss.value, grad


def draw(rng: np.random.Generator, name: str, n: int, m: int, dtype: str) -> tuple[Any, Any]:
    """Logits of mixed size, targets."""
    z = rng.standard_normal((n, m)) * rng.choice([1.0, 30.0, 1e4], (n, 1))
    if name == "softmax_labels":
        return z.astype(dtype), rng.integers(0, m, n)
    t = rng.dirichlet(np.ones(m), n)
    t[rng.random((n, m)) < 0.2] = 0.0
    t[rng.random((n, m)) < 0.1] = 1.0
    return z.astype(dtype), t.astype(dtype)


def check(name: str, z: Any, t: Any, smoothing: float = 0.0) -> None:
    given = (smoothing,) if name.startswith("softmax") else ()
    loss, slope = FORMULAS[name](np.array(z), np.array(t), *given)
    status, found, grad = call(name, z, t, smoothing)
    what = f"{name} {z.shape} {z.dtype} smoothing {smoothing}"
    assert status == OK
    assert_same_bits(np.float64(found), np.float64(loss), f"{what}: loss")
    assert_same_bits(grad, slope, f"{what}: gradient")


ROWS = (1, 2, 15, 16, 17, 33, 100)
COLUMNS = (1, 2, 3, 10, 15, 16, 17, 33, 70)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_shapes(name: str, dtype: str, rng: np.random.Generator) -> None:
    for n in ROWS:
        for m in COLUMNS:
            check(name, *draw(rng, name, n, m, dtype))
    piece = losses.COLUMNS  # of a row
    for m in (piece - 1, piece, piece + 1, 2 * piece + 5):
        check(name, *draw(rng, name, 3, m, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_blocks_of_rows(name: str, dtype: str, rng: np.random.Generator) -> None:
    kc = KC[dtype]
    for n, m in ((kc - 1, 1), (kc, 3), (kc + 1, 2), (2 * kc, 1), (2 * kc + 17, 2)):
        check(name, *draw(rng, name, n, m, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 1.0])
def test_label_smoothing(smoothing: float, dtype: str, rng: np.random.Generator) -> None:
    for name in ("softmax_labels", "softmax_probabilities"):
        for n, m in ((1, 1), (5, 2), (33, 10), (18, 70), (3, losses.COLUMNS + 1)):
            check(name, *draw(rng, name, n, m, dtype), smoothing)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(name: str, layout: str, dtype: str, rng: np.random.Generator) -> None:
    for n, m in ((1, 5), (19, 1), (37, 18)):
        z, t = draw(rng, name, n, m, dtype)
        t = place(t, steps=(3,)).array if t.ndim == 1 else laid_out(t, layout)
        check(name, laid_out(z, layout), t)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_rows_of_the_gradient_may_be_apart(name: str, dtype: str, rng: np.random.Generator) -> None:
    """And nothing else is written."""
    for n, m in ((19, 1), (35, 7), (2, losses.COLUMNS + 3)):
        z, t = draw(rng, name, n, m, dtype)
        placed: Placed = place(np.zeros((n, m), dtype), pad=3)
        _, _, expected = call(name, z, t)
        call(name, z, t, grad=placed.array)
        assert_same_bits(placed.array, expected, name)
        assert placed.intact()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_infinities_and_nans(name: str, dtype: str, rng: np.random.Generator) -> None:
    big = float(np.finfo(dtype).max)
    odd = [np.inf, -np.inf, np.nan, 0.0, -0.0, big, -big, float(np.finfo(dtype).smallest_subnormal)]
    for n, m in ((40, 1), (40, 2), (60, 9)):
        for share in (0.05, 0.5):
            z, t = draw(rng, name, n, m, dtype)
            where = rng.random((n, m)) < share
            z[where] = rng.choice(odd, np.count_nonzero(where)).astype(dtype)
            for smoothing in (0.0, 0.1) if name.startswith("softmax") else (0.0,):
                check(name, z, t, smoothing)
            for row in range(0, n, 4):  # whose loss is not lost in that of others
                check(name, z[row : row + 1], t[row : row + 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [-1, 7, 2**32, 2**32 + 1, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("row", [0, 17, 39])
def test_a_bad_label_writes_nothing(bad: int, row: int, dtype: str) -> None:
    z, labels = np.zeros((40, 7), dtype), np.zeros(40, np.int64)
    labels[row] = bad
    status, loss, grad = call("softmax_labels", z, labels)
    assert status == BAD_LABEL and loss == -1.0 and np.isnan(grad).all()
    labels[row] = 6
    assert call("softmax_labels", z, labels)[0] == OK


@pytest.mark.parametrize("name", FORMULAS)
def test_a_row_does_not_depend_on_the_others(name: str, rng: np.random.Generator) -> None:
    """Of powers of two the mean is exact, so gradients can be compared."""
    z, t = draw(rng, name, 64, 8, "float64")
    whole = call(name, z, t)[2]
    for row in (0, 7, 8, 63):
        alone = call(name, z[row : row + 1], t[row : row + 1])[2]
        assert_same_bits(whole[row : row + 1] * 64, alone, f"{name} row {row}")


@pytest.mark.parametrize("name", FORMULAS)
def test_the_code_calls_no_library(name: str) -> None:
    """exp and log are ours, with the same bits everywhere; vectors are as long as they can be."""
    text = assembly(losses.LOSSES[name], "float32")
    assert not library_calls(text)
    if edges.ISA is target.AVX512:
        assert "%zmm" in text

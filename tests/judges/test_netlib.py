"""netlib's GEMM tester (tests/netlib.py) on our products, and on wrong ones, which it must find.

Run a file of tests/judges with -s to see the worst test ratio of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad import matmul, matmul_nt, matmul_tn
from fastgrad._kernels.gemm import thresholds
from support import edges, netlib
from support.layouts import place

OURS = netlib.Products(matmul, matmul_nt, matmul_tn)
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_order = pytest.mark.parametrize("order", netlib.ORDERS)


def _run(dtype: str, order: str, sizes: Any, rng: np.random.Generator) -> netlib.Outcome:
    if np.finfo(netlib.WIDE[dtype]).nmant - np.finfo(dtype).nmant < 11:
        pytest.skip("long double is double here: no expected values to judge float64 by")
    with edges.l2():
        outcome = netlib.run(OURS, dtype, order, sizes, rng)
    print(f"{dtype}, {order}: {outcome.calls} calls, worst test ratio {outcome.worst:.2f}")
    return outcome


@by_order
@by_dtype
def test_published_sizes(dtype: str, order: str, rng: np.random.Generator) -> None:
    sizes = netlib.every(netlib.SIZES, netlib.SIZES, netlib.SIZES)
    assert _run(dtype, order, sizes, rng).calls == netlib.CALLS == 17_496


def _raised(dtype: str) -> tuple[tuple[int, ...], ...]:
    """Six values of m, n and k each: around a tile, where packing starts, a block of rows, KC."""
    isa, columns, kc = edges.ISA, edges.tile_columns(dtype), edges.KC[dtype]
    rows, block = isa.rows, edges.block_rows(dtype)
    return (
        (rows - 1, rows, rows + 1, isa.most_rows + 1, thresholds.DIRECT_ROWS + 1, block + 1),
        (1, edges.lanes(dtype) + 1, columns - 1, columns, columns + 1, 2 * columns + 1),
        (0, 1, kc - 1, kc, kc + 1, 2 * kc + 1),
    )


@by_order
@by_dtype
def test_raised_sizes(dtype: str, order: str, rng: np.random.Generator) -> None:
    sizes = netlib.every(*_raised(dtype))
    assert _run(dtype, order, sizes, rng).calls == netlib.CALLS


# The tester itself ------------------------------------------------------------------------------


def test_ratio_of_exact_data() -> None:
    """netlib's check of its own checker: a Toeplitz matrix of integers, whose sums are known."""
    j = np.arange(1.0, 33.0)
    a = np.maximum(j[:, None] - j + 1, 0)
    known = (j * (j + 1) * j / 2 - (j + 1) * j * (j - 1) / 3)[:, None]
    gauge = a @ j[:, None]
    assert netlib.ratio(matmul(a, j[:, None]), known, 0 * known, gauge) == 0
    known[7] = np.nextafter(known[7], np.inf)
    assert 0 < netlib.ratio(matmul(a, j[:, None]), known, 0 * known, gauge) <= 1
    assert netlib.ratio(np.ones((1, 1)), *np.zeros((3, 1, 1))) == 1 / np.finfo("float64").eps


def _right(a: Any, b: Any, c: Any, add: bool) -> Any:
    c[...] = a @ b + c if add else a @ b
    return c


def _half_precision(a: Any, b: Any, c: Any, add: bool) -> Any:
    return _right(a.astype("f2").astype(a.dtype), b, c, add)


def _last_step_left_out(a: Any, b: Any, c: Any, add: bool) -> Any:
    return _right(a[:, :-1], b[:-1], c, add) if a.shape[1] > 4 else _right(a, b, c, add)


def _one_element_wrong(a: Any, b: Any, c: Any, add: bool) -> Any:
    _right(a, b, c, add)
    c[-1:, -1:] *= 1 + 100 * np.finfo(c.dtype).eps
    return c


def _reads_what_it_overwrites(a: Any, b: Any, c: Any, add: bool) -> Any:
    c *= float(add)
    return _right(a, b, c, True)


def _forgets_to_accumulate(a: Any, b: Any, c: Any, add: bool) -> Any:
    return _right(a, b, c, False)


def _leaves_old_values_of_no_steps(a: Any, b: Any, c: Any, add: bool) -> Any:
    return _right(a, b, c, add) if a.shape[1] else c


def _writes_the_gap(a: Any, b: Any, c: Any, add: bool) -> Any:
    _right(a, b, c, add)
    long = int(np.argmin(c.strides))
    shape = [size + (axis == long) for axis, size in enumerate(c.shape)]
    np.lib.stride_tricks.as_strided(c, shape, c.strides)[-1:, -1:] = 0
    return c


def _changes_an_input(a: Any, b: Any, c: Any, add: bool) -> Any:
    _right(a, b, c, add)
    b[-1:, -1:] = 0
    return c


def _returns_a_copy(a: Any, b: Any, c: Any, add: bool) -> Any:
    return _right(a, b, c, add).copy()


WRONG = {
    _half_precision: "the test ratio is",
    _last_step_left_out: "the test ratio is",
    _one_element_wrong: "the test ratio is",
    _reads_what_it_overwrites: "the test ratio is nan",
    _forgets_to_accumulate: "the test ratio is",
    _leaves_old_values_of_no_steps: "the test ratio is nan",
    _writes_the_gap: "writes outside of out",
    _changes_an_input: "changes an input",
    _returns_a_copy: "returns another array",
}


def _forms(nn: Callable[..., Any]) -> netlib.Products:
    return netlib.Products(
        nn, lambda a, b, c, add: nn(a, b.T, c, add), lambda a, b, c, add: nn(a.T, b, c, add)
    )


@pytest.mark.parametrize("wrong", WRONG)
@by_dtype
def test_wrong_products_are_found(
    dtype: str, wrong: Callable[..., Any], rng: np.random.Generator
) -> None:
    sizes = netlib.every((3, 5), (2, 5), (0, 5))
    for order in netlib.ORDERS:
        netlib.run(_forms(_right), dtype, order, sizes, rng)
        with pytest.raises(AssertionError, match=WRONG[wrong]):
            netlib.run(_forms(wrong), dtype, order, sizes, rng)


# Error exits --------------------------------------------------------------------------------------
# netlib makes 28 wrong calls of GEMM. Four name an operation that does not exist ("/"): the form is
# the function's name here. Twelve pass a negative m, n or k, and arrays have none; what is left of
# them is a size that does not fit the other operands. Twelve pass a leading dimension that is too
# small: an input whose rows overlap is one that can be read; an out is refused.

SHAPES = {  # of a and b, with m = 2, n = 4, k = 3
    matmul: ((2, 3), (3, 4)),
    matmul_nt: ((2, 3), (4, 3)),
    matmul_tn: ((3, 2), (3, 4)),
}
by_function = pytest.mark.parametrize("function", SHAPES, ids=lambda f: f.__name__)


def _overlapping(rows: int, columns: int, dtype: str) -> Any:
    """A matrix whose leading dimension is one below the least."""
    base = np.arange(1.0, 1.0 + rows * columns).astype(dtype)
    step = base.itemsize
    return np.lib.stride_tricks.as_strided(base, (rows, columns), ((columns - 1) * step, step))


@pytest.mark.parametrize("wrong", ["m", "n", "k", "k of 1", "k of 0", "leading dimension"])
@pytest.mark.parametrize("accumulate", [False, True])
@by_function
@by_dtype
def test_error_exits(dtype: str, function: Any, accumulate: bool, wrong: str) -> None:
    a_shape, b_shape = SHAPES[function]
    k_axis = 1 if function is matmul_nt else 0
    b_shape = tuple(
        {"k": 4, "k of 1": 1, "k of 0": 0}.get(wrong, size) if axis == k_axis else size
        for axis, size in enumerate(b_shape)
    )
    a, b = np.ones(a_shape, dtype), np.ones(b_shape, dtype)
    out = place(np.ones((2 + (wrong == "m"), 4 - (wrong == "n")), dtype), pad=1)
    target = _overlapping(2, 4, dtype) if wrong == "leading dimension" else out.array
    before = target.copy()
    with pytest.raises(ValueError, match=f"^{function.__name__}: "):
        function(a, b, target, accumulate)
    assert np.array_equal(target, before) and out.intact()


@by_function
@by_dtype
def test_a_leading_dimension_too_small_of_an_input_is_read(dtype: str, function: Any) -> None:
    a, b = (_overlapping(*shape, dtype) for shape in SHAPES[function])
    expected = function(a.copy(), b.copy())
    assert np.array_equal(function(a, b), expected)
    left, right = a.T if function is matmul_tn else a, b.T if function is matmul_nt else b
    assert np.array_equal(expected, left @ right)  # small integers: exact

"""Stacks of products in one loop: the bits of the products one by one, and only C is written."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgrad
from support.oracles import assert_same_bits

FUNCTIONS = (fastgrad.matmul, fastgrad.matmul_nt, fastgrad.matmul_tn)
EDGES = (1, 2, 3, 4, 7, 8, 13, 16, 17, 31, 33, 48, 65)


@pytest.fixture(autouse=True, scope="module")
def all_threads_again() -> Iterator[None]:
    before = fastgrad.get_num_threads()
    yield
    fastgrad.set_num_threads(before)


def operands(function: object, m: int, n: int, k: int) -> tuple[tuple[int, int], tuple[int, int]]:
    a = (k, m) if function is fastgrad.matmul_tn else (m, k)
    b = (n, k) if function is fastgrad.matmul_nt else (k, n)
    return a, b


@given(
    function=st.sampled_from(FUNCTIONS),
    m=st.sampled_from(EDGES), n=st.sampled_from(EDGES), k=st.sampled_from((0, *EDGES, 300)),
    matrices=st.integers(0, 40), dtype=st.sampled_from(["f4", "f8"]),
    gaps=st.tuples(*[st.integers(0, 3)] * 3), transposed=st.booleans(),
    threads=st.sampled_from([1, 2, 7]), accumulate=st.booleans(),
)  # fmt: skip
def test_stacks(function, m, n, k, matrices, dtype, gaps, transposed, threads, accumulate) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(m + 100 * n + 10_000 * k)
    shape_a, shape_b = operands(function, m, n, k)

    def stack(shape: tuple[int, int], gap: int) -> np.ndarray:
        """Views with rows and matrices that are further apart than they have to be."""
        rows, columns = shape[::-1] if transposed else shape
        whole = rng.standard_normal((matrices, rows + gap, columns + gap)).astype(dtype)
        part = whole[:, :rows, :columns]
        return part.swapaxes(1, 2) if transposed else part

    a, b = stack(shape_a, gaps[0]), stack(shape_b, gaps[1])
    whole = rng.standard_normal((matrices, m + gaps[2], n + gaps[2])).astype(dtype)
    wanted = whole.copy()
    fastgrad.set_num_threads(1)
    for i in range(matrices):
        function(a[i], b[i], out=wanted[i, :m, :n], accumulate=accumulate)
    fastgrad.set_num_threads(threads)
    function(a, b, out=whole[:, :m, :n], accumulate=accumulate)
    assert_same_bits(whole, wanted)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_one_matrix_for_all(function) -> None:  # type: ignore[no-untyped-def]
    """A stride of 0 between matrices, as broadcast_to makes it."""
    rng = np.random.default_rng(0)
    shape_a, shape_b = operands(function, 9, 20, 12)
    a = rng.standard_normal((50, *shape_a), dtype=np.float32)
    b = np.broadcast_to(rng.standard_normal(shape_b, dtype=np.float32), (50, *shape_b))
    for threads in (1, 2):
        fastgrad.set_num_threads(threads)
        found = function(a, b)
        for i in range(50):
            assert_same_bits(found[i], function(a[i], b[i]))


def test_many_large_ones() -> None:
    """Of which each is a job itself."""
    a = np.random.default_rng(0).standard_normal((3, 300, 200), dtype=np.float32)
    b = np.random.default_rng(1).standard_normal((3, 200, 250), dtype=np.float32)
    for threads in (1, 2, 7):
        fastgrad.set_num_threads(threads)
        found = fastgrad.matmul(a, b)
        for i in range(3):
            assert_same_bits(found[i], fastgrad.matmul(a[i], b[i]))

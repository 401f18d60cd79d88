"""Calls from all kinds of compiled functions: nogil, fastmath, parallel, nested, in threads."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit, prange

import fastgrad
from support.oracles import assert_same_bits, floats


@njit
def in_a_call(a, b):  # type: ignore[no-untyped-def]
    return fastgrad.matmul(a, b)


@njit(nogil=True, fastmath=True)
def without_gil(a, b, times):  # type: ignore[no-untyped-def]
    c = in_a_call(a, b)
    for _ in range(times):
        fastgrad.matmul(a, b, out=c)
    return c


@njit
def caught(a, b):  # type: ignore[no-untyped-def]
    """How many calls failed, and whether a right one does after them."""
    failed = 0
    for shift in range(3):
        try:
            in_a_call(a, b[shift:])
        except Exception:  # what numba can catch
            failed += 1
    return failed, in_a_call(a, b)


@njit(parallel=True)
def side_by_side(a, b, c):  # type: ignore[no-untyped-def]
    for i in prange(len(a)):
        fastgrad.matmul(a[i], b, out=c[i])


def test_an_error_in_a_nested_call(rng: np.random.Generator) -> None:
    a, b = floats(rng, 4, 5), floats(rng, 5, 6)
    with pytest.raises(ValueError, match=r"^matmul: a has 5 columns but b has 6 rows") as error:
        without_gil(a, b.T.copy(), 0)
    assert type(error.value) is ValueError
    assert error.value.__context__ is None and error.value.__cause__ is None


def test_errors_are_caught_in_compiled_code(rng: np.random.Generator) -> None:
    a, b = floats(rng, 4, 5), floats(rng, 5, 6)
    failed, result = caught(a, b)
    assert failed == 2
    assert_same_bits(result, fastgrad.matmul(a, b))
    assert sys.exc_info() == (None, None, None)


def test_inside_prange(rng: np.random.Generator) -> None:
    """One call at a time may take the pool; the bits are the same."""
    a, b = floats(rng, 40, 60, 70), floats(rng, 70, 90)
    c = np.full((40, 60, 90), np.nan, np.float32)
    with fastgrad.num_threads(2):
        side_by_side(a, b, c)
    assert_same_bits(c, fastgrad.matmul(a, b))


def test_from_several_threads(rng: np.random.Generator) -> None:
    """Large enough to be shared between threads; some of the calls fail, each with its words."""
    a = floats(rng, 150, 160)
    shapes = [(160, 100 + i) for i in range(4)]
    results: list[Any] = [None] * 4

    def work(i: int) -> None:
        b = floats(np.random.default_rng(i), *shapes[i])
        right = fastgrad.matmul(a, b)
        for _ in range(20):
            assert_same_bits(without_gil(a, b, 3), right)
            try:
                without_gil(a, b.T.copy(), 0)
            except ValueError as error:
                assert f"b has {100 + i} rows" in str(error)
            else:
                raise AssertionError("no error")
        results[i] = True

    with fastgrad.num_threads(2):
        without_gil(a, floats(rng, *shapes[0]), 0)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert results == [True] * 4


def _megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_nothing_leaks(rng: np.random.Generator) -> None:
    """Results, errors before and after results were made: arrays of 0.8 MB, 300 times."""
    x, weight = floats(rng, 1000, 200), floats(rng, 200, 200)
    read_only = weight.copy()
    read_only.flags.writeable = False
    g = floats(rng, 1000, 200)

    @njit
    def forward(x: Any, weight: Any) -> Any:
        return fastgrad.linear_forward(x, weight)

    @njit
    def backward(g: Any, x: Any, weight: Any, dw: Any) -> Any:
        """dX is made before it is found that dW is read-only."""
        return fastgrad.linear_backward(g, x, weight, out=(None, dw, None))

    def each_way() -> None:
        forward(x, weight)
        with pytest.raises(ValueError, match="columns"):
            forward(x, weight[1:])
        with pytest.raises(ValueError, match="read-only"):
            backward(g, x, weight, read_only)

    for _ in range(20):
        each_way()
    gc.collect()
    before = _megabytes()
    for _ in range(300):
        each_way()
    assert _megabytes() - before < 40

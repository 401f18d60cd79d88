"""Arenas: claimed one a call, given back, bounded, and free in a forked child."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.runtime import scratch
from fastgrad._kernels.runtime.table import SCRATCH, TABLE


def states() -> list[int]:
    return [TABLE[SCRATCH + 2 * i] for i in range(scratch.ARENAS)]


def test_arenas_are_given_back_and_calls_side_by_side_do_not_share_one() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, (256, 256)).astype(np.float32) for _ in range(2))
    expected = a @ b
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: fastgrad.matmul(a, b.T.copy().T), range(64)))
    assert all((r == expected).all() for r in results)
    assert not any(states())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork with threads about
def test_arenas_taken_at_a_fork_are_free_in_the_child() -> None:
    TABLE[SCRATCH + 2] = 1  # as if a call in another thread had the second one
    try:
        child = os.fork()
        if child == 0:
            os._exit(any(states()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        TABLE[SCRATCH + 2] = 0


def test_beyond_the_arenas_a_call_allocates_its_own() -> None:
    a = np.ones((64, 300), np.float32)
    taken = [i for i in range(scratch.ARENAS) if not TABLE[SCRATCH + 2 * i]]
    for i in taken:
        TABLE[SCRATCH + 2 * i] = 1
    try:
        assert (fastgrad.matmul_nt(a, a) == 300).all()
    finally:
        for i in taken:
            TABLE[SCRATCH + 2 * i] = 0


@pytest.mark.parametrize("function", [fastgrad.matmul, fastgrad.matmul_nt, fastgrad.matmul_tn])
def test_an_empty_stack_keeps_none(function: object) -> None:
    before = states()
    for dtype in (np.float32, np.float64):
        a, b = np.ones((4, 4), dtype), np.ones((0, 4, 4), dtype)
        assert function(a, b).shape == (0, 4, 4)  # type: ignore[operator]
    assert states() == before

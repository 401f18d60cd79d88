"""The builtins behind the public functions: references, memory and the GIL.

Each test runs on the builtins and on their twins by hand, which obey the same rules.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.bind import builtins as entries
from fastgrad._kernels.gemm import dispatch
from fastgrad._kernels.layer import backward
from fastgrad._kernels.runtime import jit
from support.quick import ALL, DTYPES, NONE, Layer, integers, layer


def counts(*things: Any) -> list[int]:
    return [sys.getrefcount(thing) for thing in things]


def test_references(call: Any) -> None:
    t = layer()
    h, out, part = integers(3, 5), (t.dx, t.dw, t.db), (None, t.dw, None)
    stack = integers(2, 4, 4)
    stacks = (stack, stack.copy(), stack.copy())
    tall = np.zeros((9, 9), "f4")
    things = (
        *t, h, out, part, *stacks, stack, tall, t.x.dtype, np.ndarray, fastgrad.LinearGrads,
        ALL, NONE, "relu", None,
    )  # fmt: skip
    rounds = 100_000 if call is entries else 300

    def once() -> None:
        call.product(t.x, t.w, t.y, False)
        call.product(t.x, t.w, None, False)
        call.product(t.x, t.w, None, True)
        call.product(t.x, tall, None, False)
        call.product(t.x, t.w, tall, False)
        call.product_nt(t.x, t.x, None, False)
        call.product_stack(*stacks, False)
        call.forward(t.x, t.w, t.bias, "relu", t.y, None)
        call.forward(t.x, t.w, None, None, None, h)
        call.forward(t.x, t.w, tall, None, None, h)
        call.backward(t.g, t.x, t.w, "relu", h, None, ALL, out, True)
        call.backward(t.g, t.x, t.w, "relu", h, None, ALL, NONE, False)
        call.backward(t.g, t.x, t.w, "relu", h, None, (True, False, True), part, False)
        call.backward(t.g, t.x, t.w, "relu", tall, None, ALL, part, False)
        call.backward(t.g, t.x, t.w, "relu", h, None, ALL, (t.x, None, None), False)

    once()
    gc.collect()
    before = counts(*things)
    tracemalloc.start()
    try:
        once()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        for _ in range(rounds // 15):
            once()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - size
    finally:
        tracemalloc.stop()
    after = counts(*things)
    # a leak is of one each round; Python's own may differ by a few
    few = max(10, rounds // 30)
    assert all(abs(x - y) < few for x, y in zip(before, after, strict=True)), (before, after)
    assert grown < 4096


@contextmanager
def nothing_left(*things: Any) -> Iterator[None]:
    """No reference and no object is kept of what happens 500 times inside."""
    gc.collect()
    before, blocks = counts(*things), sys.getallocatedblocks()
    yield
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 250
    assert all(abs(x - y) < 10 for x, y in zip(before, counts(*things), strict=True))


@contextmanager
def in_place_of(number: int, kernel: int) -> Iterator[None]:
    """A kernel's slots with another address in them."""
    slots = [jit.slot(number, dtype) for dtype in DTYPES]
    before = [jit.TABLE[slot] for slot in slots]
    try:
        for slot in slots:
            jit.TABLE[slot] = kernel
        yield
    finally:
        for slot, address in zip(slots, before, strict=True):
            jit.TABLE[slot] = address


def calls(call: Any, t: Layer) -> list[Callable[[], Any]]:
    stack = integers(2, 4, 4)
    return [
        lambda: call.product(t.x, t.w, None, False),
        lambda: call.product(t.x, t.w, t.y, False),
        lambda: call.product_stack(stack, stack.copy(), stack.copy(), False),
        lambda: call.forward(t.x, t.w, t.bias, "relu", None, None),
        lambda: call.backward(t.g, t.x, t.w, None, None, None, ALL, (t.dx, None, None), False),
    ]


def test_a_kernel_that_fails_raises(call: Any) -> None:
    fail = jit.KERNEL_TYPE(lambda descriptor: jit.OUT_OF_MEMORY)
    address = ctypes.cast(fail, ctypes.c_void_p).value
    assert address
    t = layer()
    with in_place_of(dispatch.GEMM, address), in_place_of(backward.BACKWARD_KERNEL, address):
        for one in calls(call, t):
            with nothing_left(*t, t.x.dtype, fastgrad.LinearGrads):
                for _ in range(500):
                    with pytest.raises(MemoryError, match="scratch"):
                        one()


def test_results_too_large_to_allocate() -> None:
    t = layer()
    huge = 1 << 55
    tall = np.lib.stride_tricks.as_strided(t.x, (huge, 4), (0, 4))
    wide = np.lib.stride_tricks.as_strided(t.x, (4, huge), (4, 0))
    g = np.lib.stride_tricks.as_strided(t.x, (3, huge), (4, 0))
    with nothing_left(*t, t.x.dtype):
        for _ in range(500):
            with pytest.raises((MemoryError, ValueError)):
                entries.product(tall, t.w, None, False)
            with pytest.raises((MemoryError, ValueError)):  # after dx has been made
                entries.backward(g, t.x, wide, None, None, None, ALL, NONE, False)


def test_the_gil_is_kept_for_short_calls_and_released_for_long_ones() -> None:
    """The kernel is CPython's own question whether the GIL is held: 1, a failure, or 0, success."""
    held = ctypes.cast(ctypes.pythonapi.PyGILState_Check, ctypes.c_void_p).value
    assert held
    large = [integers(512, 512) for _ in range(3)]
    rows = integers(1, 40_000), integers(40_000, 1)
    with in_place_of(dispatch.GEMM, held), in_place_of(backward.BACKWARD_KERNEL, held):
        for one in calls(entries, layer()):
            with pytest.raises(MemoryError):
                one()
        assert entries.product(*large, False) is large[2]
        assert entries.product(*rows, None, False) is not None
        assert entries.forward(*large[:2], None, None, None, None) is not None
        grads = entries.backward(*large, None, None, None, ALL, NONE, False)
        assert type(grads) is fastgrad.LinearGrads


def test_many_threads() -> None:
    """Short calls with the GIL, long ones without, and their own outputs."""
    small, large = layer(), (integers(200, 300), integers(300, 250))
    expected = small.x @ small.w, large[0] @ large[1]
    wrong = []

    def work() -> None:
        y, c = np.empty((3, 5), "f4"), np.empty((200, 250), "f4")
        for _ in range(30):
            entries.product(*large, c, False)
            for _ in range(50):
                entries.product(small.x, small.w, y, False)
            if not (np.array_equal(y, expected[0]) and np.array_equal(c, expected[1])):
                wrong.append((y.copy(), c.copy()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

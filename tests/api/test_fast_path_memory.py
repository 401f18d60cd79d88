"""The builtins behind the public functions: references, memory and the GIL."""

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
from fastgrad._kernels.bind import builtins
from fastgrad._kernels.gemm.dispatch import gemm
from fastgrad._kernels.gemm.stack import stack
from fastgrad._kernels.layer import optimizers
from fastgrad._kernels.layer.backward import linear_backward
from fastgrad._kernels.layer.losses import LOSSES
from fastgrad._kernels.layer.stack import backward_stack
from fastgrad._kernels.runtime.table import OUT_OF_MEMORY
from support.slots import replaced
from support.small import ALL, DTYPES, NONE, Layer, integers, layer


def counts(*things: Any) -> list[int]:
    return [sys.getrefcount(thing) for thing in things]


def test_references() -> None:
    t = layer()
    h, out, part = integers(3, 5), (t.dx, t.dw, t.db), (None, t.dw, None)
    stack = integers(2, 4, 4)
    stacks = (stack, stack.copy(), stack.copy())
    tall, param, shares = np.zeros((9, 9), "f4"), np.ones_like(t.x), np.zeros_like(t.x)
    moments, labels = (np.ones_like(t.x), np.ones_like(t.x)), np.zeros(len(t.x), np.int64)
    rate, big, bigger = float("0.5"), int("123456789012"), int("9" * 30)
    things = (
        *t, h, out, part, *stacks, stack, tall, t.x.dtype, np.ndarray, fastgrad.LinearGrads,
        ALL, NONE, "relu", None, True, param, *moments, labels, shares, rate, big, bigger,
    )  # fmt: skip
    rounds = 100_000

    def once() -> None:
        builtins.matmul(t.x, t.w, t.y, False)
        builtins.matmul(t.x, t.w, None, False)
        builtins.matmul(t.x, t.w, None, True)
        builtins.matmul(t.x, tall, None, False)
        builtins.matmul(t.x, t.w, tall, False)
        builtins.matmul_nt(t.x, t.x, None, False)
        builtins.matmul_stack(*stacks, False)
        builtins.linear_forward(t.x, t.w, t.bias, "relu", t.y, None)
        builtins.linear_forward(t.x, t.w, None, None, None, h)
        builtins.linear_forward(t.x, t.w, tall, None, None, h)
        builtins.linear_backward(t.g, t.x, t.w, "relu", h, None, ALL, out, True)
        builtins.linear_backward(t.g, t.x, t.w, "relu", h, None, ALL, NONE, False)
        builtins.linear_backward(t.g, t.x, t.w, "relu", h, None, (True, False, True), part, False)
        builtins.linear_backward(t.g, t.x, t.w, "relu", tall, None, ALL, part, False)
        builtins.linear_backward(t.g, t.x, t.w, "relu", h, None, ALL, (t.x, None, None), False)
        builtins.linear_backward(t.g, t.x, t.w, None, None, None, ALL, out, (True, False, True))
        builtins.matmul_stack(stack, stack[0], None, False)
        builtins.linear_forward_stack(*stacks[:2], None, "relu", stacks[2], None)
        builtins.linear_forward_stack(stack, stack, None, "relu", None, stack)
        builtins.linear_forward_stack(t.x, stack, None, "relu", None, None)
        builtins.linear_backward_stack(*[stack] * 3, "relu", stack, None, ALL, NONE, False)
        builtins.linear_backward_stack(*[stack] * 3, "relu", t.x, None, ALL, NONE, False)
        builtins.matmul(stack, stack[0], None, False)
        builtins.softmax_cross_entropy(t.x, labels, rate)
        builtins.softmax_cross_entropy(t.x, labels + 4, rate)
        builtins.softmax_cross_entropy(t.x, t.x, rate)
        builtins.mse(t.x, t.x)
        builtins.mse(t.x, tall)
        builtins.binary_cross_entropy_with_logits(t.x, shares)
        builtins.sgd_step(param, t.x, rate, moments[0], rate, True, rate)
        builtins.sgd_step(param, t.x, rate, param, rate, True, rate)
        builtins.adam_step(param, t.x, *moments, big, rate, rate, rate, rate, rate, True)
        builtins.adam_step(param, t.x, *moments, 0, rate, rate, rate, rate, rate, True)
        builtins.adam_step(param, t.x, *moments, bigger, rate, rate, rate, rate, rate, True)

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


def slots() -> list[int]:
    """Of every kernel that a builtin calls."""
    kernels = (
        gemm, stack, linear_backward, backward_stack, *LOSSES.values(), optimizers.sgd,
        optimizers.adam,
    )  # fmt: skip
    return [kernel.slot(dtype) for kernel in kernels for dtype in DTYPES]


def calls(t: Layer) -> list[Callable[[], Any]]:
    stack, labels = integers(2, 4, 4), np.zeros(len(t.x), np.int64)
    shares = np.zeros_like(stack)
    moments = np.ones_like(t.x), np.ones_like(t.x)
    return [
        lambda: builtins.matmul(t.x, t.w, None, False),
        lambda: builtins.matmul(t.x, t.w, t.y, False),
        lambda: builtins.matmul_stack(stack, stack.copy(), stack.copy(), False),
        lambda: builtins.linear_forward(t.x, t.w, t.bias, "relu", None, None),
        lambda: builtins.matmul_stack(stack, stack[0], None, False),
        lambda: builtins.linear_backward(
            t.g, t.x, t.w, None, None, None, ALL, (t.dx, None, None), False
        ),
        lambda: builtins.linear_forward_stack(t.x, stack, None, None, None, None),
        lambda: builtins.linear_backward_stack(
            *[stack] * 3, "relu", stack, None, ALL, (None, stack.copy(), None), True
        ),
        lambda: builtins.softmax_cross_entropy(t.x, labels, 0.0),
        lambda: builtins.mse(t.x, t.dx),
        lambda: builtins.binary_cross_entropy_with_logits(stack, shares),
        lambda: builtins.sgd_step(t.dx, t.x, 0.1, None, 0.0, False, 0.0),
        lambda: builtins.adam_step(t.dx, t.x, *moments, 3, 0.1, 0.9, 0.99, 1e-7, 0.0, False),
    ]


def test_a_kernel_that_fails_raises() -> None:
    t = layer()
    for one in calls(t):
        one()  # what is loaded at a first call stays
    with replaced(*slots(), by=lambda address: OUT_OF_MEMORY):
        for one in calls(t):
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
                builtins.matmul(tall, t.w, None, False)
            with pytest.raises((MemoryError, ValueError)):  # after dx has been made
                builtins.linear_backward(g, t.x, wide, None, None, None, ALL, NONE, False)


def test_the_gil_is_kept_for_short_calls_and_released_for_long_ones() -> None:
    """The kernel is CPython's own question whether the GIL is held: 1, a failure, or 0, success."""
    held = ctypes.cast(ctypes.pythonapi.PyGILState_Check, ctypes.c_void_p).value
    assert held
    large = [integers(512, 512) for _ in range(3)]
    rows = integers(1, 40_000), integers(40_000, 1)
    with replaced(*slots(), by=held):
        for one in calls(layer()):
            with pytest.raises(MemoryError):
                one()
        assert builtins.matmul(*large, False) is large[2]
        assert builtins.matmul(*rows, None, False) is not None
        assert builtins.linear_forward(*large[:2], None, None, None, None) is not None
        grads = builtins.linear_backward(*large, None, None, None, ALL, NONE, False)
        assert type(grads) is fastgrad.LinearGrads


def test_many_threads() -> None:
    """Short calls with the GIL, long ones without, and their own outputs."""
    small, large = layer(), (integers(200, 300), integers(300, 250))
    expected = small.x @ small.w, large[0] @ large[1]
    wrong = []

    def work() -> None:
        y, c = np.empty((3, 5), "f4"), np.empty((200, 250), "f4")
        for _ in range(30):
            builtins.matmul(*large, c, False)
            for _ in range(50):
                builtins.matmul(small.x, small.w, y, False)
            if not (np.array_equal(y, expected[0]) and np.array_equal(c, expected[1])):
                wrong.append((y.copy(), c.copy()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

"""No memory: ``python exhausted.py NAME...`` runs scenarios, each of which asserts.

Address space is limited to what is in use (RLIMIT_AS), and what malloc has left is taken away, so
that the next large block is refused; or Python's allocator refuses its n-th block. After it, the
same calls must work, with the bits they had before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastgrad
from fastgrad import (
    MLP,
    Adam,
    linear_backward,
    linear_forward,
    matmul,
    matmul_nt,
    matmul_tn,
    num_threads,
)
from fastgrad._kernels.gemm.blocked import blocked
from fastgrad._kernels.gemm.macrokernel import macrokernel
from fastgrad._kernels.gemm.parts import part, parts
from fastgrad._kernels.runtime import pool_kernels, pool_words, registry, scratch
from fastgrad._kernels.runtime.table import DTYPES, SCRATCH, TABLE
from support.layouts import Placed, place

NAMES: dict[str, Callable[[], None]] = {}
RNG = np.random.default_rng(0)
ctypes.CDLL(None).mallopt(-8, 1)  # one arena of malloc: others would have memory in reserve
MALLOC = ctypes.CDLL(None).malloc
MALLOC.restype, MALLOC.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
FREE = ctypes.CDLL(None).free
FREE.argtypes = [ctypes.c_void_p]
NO_SCRATCH = "fastgrad: no memory for the scratch of a kernel"


def scenario(function: Callable[[], None]) -> Callable[[], None]:
    NAMES[function.__name__] = function
    return function


@contextlib.contextmanager
def no_memory(spare: int = 0) -> Iterator[None]:
    """No block larger than 64 kB is given out, but for ``spare`` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, before[1]))
    taken = []
    for size in (64 << 20, 4 << 20, 1 << 20, 1 << 16) if not spare else ():
        while address := MALLOC(size):
            taken.append(address)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        for address in taken:
            FREE(address)


def forget_arenas() -> None:
    """As in a process that has had none. Those of before are lost."""
    for i in range(scratch.ARENAS):
        assert TABLE[SCRATCH + 2 * i] == 0, "an arena is still taken"
        TABLE[SCRATCH + 2 * i + 1] = 0


def fails(function: Callable[..., object], *args: Any, **keywords: Any) -> str:
    """Raises MemoryError, of its own type or of numpy's; the message."""
    try:
        function(*args, **keywords)
    except MemoryError as error:
        return str(error)
    raise AssertionError(f"{function} found memory")


def floats(*shape: int, dtype: str = "float32") -> Any:
    return RNG.standard_normal(shape).astype(dtype)


@scenario
def results() -> None:
    """Of each function that makes some; those that were made before another one go."""
    a, b = floats(700, 30), floats(30, 900)
    g = floats(700, 900)
    calls: list[Callable[[], object]] = [
        lambda: matmul(a, b),
        lambda: matmul(a[None], b),
        lambda: matmul(np.ones((700, 300), np.int64), np.ones((300, 900), np.int64)),
        lambda: linear_forward(a, b, activation="tanh"),
        lambda: linear_backward(g.T, b.T, a.T),
        lambda: linear_backward(g, a, b, "relu", g),
        lambda: fastgrad.mse(g, g),
        lambda: fastgrad.softmax_cross_entropy(g, np.zeros(700, np.int64)),
    ]
    expected = [call() for call in calls]
    for call, right in zip(calls, expected, strict=True):
        with no_memory():
            fails(call)
        assert_same(call(), right)


def assert_same(found: Any, right: Any) -> None:
    if isinstance(right, tuple):
        assert len(found) == len(right)
        for one, other in zip(found, right, strict=True):
            assert_same(one, other)
    else:
        assert np.asarray(found).tobytes() == np.asarray(right).tobytes()


@scenario
def scratch_of_kernels() -> None:
    """Into memory that is given, so that a kernel's scratch is what is missing; one thread, many.

    ``out`` may be half written then; what lies between and beside its elements is left alone, and
    so are the operands.
    """
    for threads in (1, 3):
        for dtype in ("float32", "float64"):
            with num_threads(threads):
                _scratch(dtype)


def _scratch(dtype: str) -> None:
    def target(*shape: int) -> Placed:
        return place(np.zeros(shape, dtype), pad=3)

    a, nt, g = (floats(*s, dtype=dtype) for s in ((300, 400), (500, 400), (300, 500)))
    long, tall = (floats(*s, dtype=dtype) for s in ((30, 20_000), (20_000, 70)))
    c, few, small, one, dw, narrow = (
        target(*s) for s in ((300, 500), (3, 500), (30, 70), (1, 1), (400, 500), (400, 9))
    )
    only_dw: dict[str, Any] = {"needs": (False, True, False), "out": (None, dw.array, None)}
    calls: list[tuple[Placed, Callable[[], object]]] = [
        (c, lambda: matmul_nt(a, nt, c.array)),
        (few, lambda: matmul(a[:3], nt.T, few.array)),
        (narrow, lambda: matmul_tn(a, g[:, :9], narrow.array)),
        (small, lambda: matmul(long, tall, small.array)),
        (one, lambda: matmul(long[:1], long[1:2].T, one.array)),
        (dw, lambda: linear_backward(g, a, nt.T, "tanh", g, **only_dw)),
        (c, lambda: fastgrad._ops.losses._mse(g, np.flip(g), c.array)),
        (one, lambda: one.array.fill(fastgrad.clip_grad_norm(g, np.inf))),
    ]
    operands = (a, nt, g, long, tall)
    kept = [x.copy() for x in operands]
    for i, (out, call) in enumerate(calls):
        call()  # compiled, and the pool started
        right = out.array.copy()
        out.array.fill(0)
        forget_arenas()
        with no_memory():
            message = fails(call)
        assert NO_SCRATCH in message, (i, message)
        assert all(x.tobytes() == y.tobytes() for x, y in zip(operands, kept, strict=True)), i
        call()
        assert_same(out.array, right)
        assert out.intact(), i


@scenario
def training() -> None:
    """A step without memory changes no parameter, and the model goes on as if it had not been."""
    for dtype in ("float32", "float64"):
        x, y = floats(3000, 40, dtype=dtype), RNG.integers(0, 10, 3000)
        settings: Any = (40, 700, 10), "gelu", "softmax_cross_entropy", Adam(), dtype
        models = model, other = [MLP(*settings, max_grad_norm=1.0) for _ in range(2)]
        for one in models:
            one.train_step(x[:40], y[:40])
        before = [w.copy() for w in model.weights + model.biases]
        with no_memory():
            fails(model.train_step, x, y)  # its buffers
            fails(model.train_step, x[:50], y[:50])  # those for fewer rows have been given back
            fails(MLP, (4000, 4000))
        assert_same(model.weights + model.biases, tuple(before))
        assert model.train_step(x[:45], y[:45]) == other.train_step(x[:45], y[:45])
        forget_arenas()
        before = [w.copy() for w in model.weights + model.biases]
        with no_memory():
            message = fails(model.train_step, x[:45], y[:45])  # scratch
        assert NO_SCRATCH in message
        assert_same(model.weights + model.biases, tuple(before))
        for rows in (45, 3000, 7):
            assert model.train_step(x[:rows], y[:rows]) == other.train_step(x[:rows], y[:rows])
        assert_same(model.weights + model.biases, other.weights + other.biases)


@scenario
def compiled() -> None:
    """From a user's function: its results, and scratch."""
    from support import compiled as user

    r, v, w = user.read("float32", 2), user.read("float32", 1), user.written("float32", 2)
    text = user.types.unicode_type
    user.compile_for(user.layer, r, r, v, text)
    user.compile_for(user.gradients, r, r, r, text, r, r)
    user.compile_for(user.product_into, r, r, w, user.types.boolean)
    x, weight, bias, g = floats(700, 30), floats(30, 900), floats(900), floats(700, 900)
    long, tall, out = floats(3, 20_000), floats(20_000, 40), place(np.zeros((3, 40), "f"), pad=3)
    calls: list[Callable[[], object]] = [
        lambda: user.layer(x, weight, bias, "tanh"),
        lambda: user.gradients(g, x, weight, "tanh", g, g),
        lambda: user.product_into(long, tall, out.array, False),
    ]
    expected = [np.array(calls[0]()), calls[1](), np.array(calls[2]())]
    for call, right in zip(calls, expected, strict=True):
        forget_arenas()
        with no_memory():
            message = fails(call)
        assert call is not calls[2] or NO_SCRATCH in message
        assert_same(call(), right)
    assert out.intact()


@scenario
def first_threads() -> None:
    """No stack for a worker: the caller does all of it."""
    a = RNG.integers(-4, 5, (200, 200)).astype(np.float32)
    right, out = np.matmul(a, a), np.zeros((200, 200), np.float32)
    with num_threads(1):
        matmul(a, a, out)
    out[:] = 0
    workers = pool_kernels.join_job, pool_kernels.pool_worker
    for kernel in (*workers, parts, part, blocked, macrokernel):
        registry.compile_slot(kernel.slot(DTYPES[0]))
    threading.stack_size(64 << 20)
    with num_threads(8), no_memory(spare=16 << 20):
        matmul(a, a, out)
    threading.stack_size(0)
    assert (out == right).all() and TABLE[pool_words.STARTED] == 0
    with num_threads(8):
        assert (matmul(a, a) == right).all()


@scenario
def every_block_of_python() -> None:
    """Python's allocator refuses its n-th block, for each n until a call needs no more.

    Objects that were made before it are given back: references are as they were. Only of calls that
    are builtins from end to end: numpy's __array_interface__, which others ask, does not survive.
    """
    from _testcapi import remove_mem_hooks, set_nomemory  # not in every Python

    x, weight, g = floats(5, 4), floats(4, 3), floats(5, 3)
    outs = (None, np.zeros_like(weight), None)
    watched = (x, weight, g, outs, np.dtype(np.float32), fastgrad.LinearGrads)
    calls: list[Callable[[], object]] = [
        lambda: matmul(x, weight),
        lambda: matmul(x[0], weight),
        lambda: linear_forward(x, weight, activation="silu"),
        lambda: linear_backward(g, x, weight),
        lambda: linear_backward(g, x, weight, out=outs),
    ]
    for i, call in enumerate(calls):
        call()
        before, refused = [sys.getrefcount(one) for one in watched], 0
        for n in range(400):
            set_nomemory(n, n + 1)
            try:
                call()
            except MemoryError:
                refused += 1
            finally:
                remove_mem_hooks()
            if n > 2 * refused + 20:
                break
        assert refused, i
        call()
        after = [sys.getrefcount(one) for one in watched]
        assert after == before, (i, n, before, after)


@scenario
def no_memory_is_not_noticed() -> None:
    """To see that it would be: this one fails."""
    fails(matmul, floats(700, 30), floats(30, 900))


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        NAMES[name]()
        print(f"{name}: done", flush=True)
    sys.stdout.flush()
    os._exit(0)

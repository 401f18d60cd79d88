"""Memory after many calls: ``python growth.py CALLS NAME...`` prints a line of JSON for each name.

What is looked at: bytes that malloc has given out, blocks of Python's allocator, live arrays of
numba's run time, references to operands and to what results are made of, and the resident set.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.runtime import _nrt_python, rtsys

import fastgrad
from fastgrad import MLP, Adam, linear_backward, linear_forward, matmul, matmul_nt
from fastgrad._njit import failures

Call = Callable[[], object]
SCENARIOS: dict[str, Callable[[], Call]] = {}
RNG = np.random.default_rng(0)
X, W, B = (RNG.standard_normal(s).astype(np.float32) for s in ((9, 17), (17, 35), 35))
G = RNG.standard_normal((9, 35)).astype(np.float32)
LABELS = RNG.integers(0, 35, 9)
LARGE = RNG.standard_normal((200, 300)).astype(np.float32)  # for several threads, and scratch
# Not float64, nor ndarray: numpy loses a reference to one in np.empty(5), numba one to the other
# for each array that it returns. Neither takes memory.
WATCHED = (X, W, B, G, LABELS, LARGE, np.dtype(np.float32), None, True, False,
           fastgrad.LinearGrads)  # fmt: skip


def scenario(prepare: Callable[[], Call]) -> Callable[[], Call]:
    SCENARIOS[prepare.__name__] = prepare
    return prepare


def refused(function: Callable[..., object], *args: Any, **keywords: Any) -> None:
    with contextlib.suppress(ValueError, TypeError, MemoryError):
        function(*args, **keywords)
        raise SystemExit(f"{function} took {args}")


@scenario
def products() -> Call:
    out = np.zeros((9, 35), np.float32)

    def call() -> None:
        matmul(X, W)
        matmul(X, W, out=out, accumulate=True)
        matmul(X[0], W)
        matmul_nt(X, W.T)
        matmul(X[None], W)

    return call


@scenario
def large_products() -> Call:
    return lambda: matmul_nt(LARGE, LARGE[:150])


@scenario
def careful_products() -> Call:
    """What goes through casts, copies and stacks."""
    x, stack = np.ones((9, 17), np.int64), np.ones((2, 3, 9, 17), np.float32)[:, ::2]
    square = np.ones((9, 9), np.float32)

    def call() -> None:
        matmul(x, W)
        matmul(stack, W)
        matmul(square, square, out=square)

    return call


@scenario
def layers() -> Call:
    z, grads = np.empty_like(G), (np.empty_like(X), np.empty_like(W), np.empty_like(B))

    def call() -> None:
        y = linear_forward(X, W, B, "tanh", preactivation_out=z)
        linear_backward(G, X, W, "tanh", y)
        linear_backward(G, X, W, "gelu", preactivation=z, needs=(False, True, False))
        linear_backward(G, X, W, out=grads, accumulate=(False, True, True))

    return call


@scenario
def losses() -> Call:
    targets = np.abs(G) % 1

    def call() -> None:
        fastgrad.softmax_cross_entropy(G, LABELS, 0.1)
        fastgrad.binary_cross_entropy_with_logits(G, targets)
        fastgrad.mse(G, targets)

    return call


@scenario
def optimizers() -> Call:
    p, m, v = (np.ones_like(W) for _ in range(3))

    def call() -> None:
        fastgrad.sgd_step(p, W, 0.1, m, 0.9)
        fastgrad.adam_step(p, W, m, v, 3)
        fastgrad.clip_grad_norm([p, m], 0.5)

    return call


@scenario
def training() -> Call:
    model = MLP((17, 20, 35), "gelu", optimizer=Adam(), max_grad_norm=1.0)
    doubles, few = X.astype(np.float64), X[:4]

    def call() -> None:
        model.train_step(X, LABELS)
        model.train_step(doubles, LABELS.astype(np.int32))
        model.train_step(few, LABELS[:4])
        model.predict(X)

    return call


@scenario
def models() -> Call:
    """Made, trained with two sizes of batch and dropped."""

    def call() -> None:
        model = MLP((17, 20, 35))
        model.train_step(X[:2], LABELS[:2])
        model.train_step(X, LABELS)

    return call


@scenario
def errors() -> Call:
    read_only = np.empty_like(G)
    read_only.flags.writeable = False
    labels, model = LABELS + 100, MLP((17, 20, 35))
    huge = np.broadcast_to(X[:1, :1], (1 << 24, 1))

    def call() -> None:
        refused(matmul, X, X)
        refused(matmul, X, W, out=read_only)
        refused(matmul, X, [1.0])
        refused(matmul_nt, huge, huge)  # 2^50 bytes
        refused(linear_forward, X, W, B[1:])
        refused(linear_backward, G, X, W, "tanh")
        refused(linear_backward, G, X, W, accumulate=True)
        refused(fastgrad.softmax_cross_entropy, G, labels)
        refused(fastgrad.sgd_step, W, X, 0.1)
        refused(model.train_step, X, labels)

    return call


@scenario
def threads() -> Call:
    """Each call from a thread of its own, that ends."""

    def inside() -> None:
        matmul(X, W)
        refused(matmul, X, X)

    def call() -> None:
        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()

    return call


@scenario
def compiled() -> Call:
    from support import compiled as user

    r1, r2 = user.read("float32", 1), user.read("float32", 2)
    user.compile_for(user.layer, r2, r2, r1, user.types.unicode_type)
    user.compile_for(user.gradients, r2, r2, r2, user.types.unicode_type, r2, r2)

    def call() -> None:
        y = user.layer(X, W, B, "tanh")
        user.gradients(G, X, W, "tanh", y, y)

    return call


@scenario
def compiled_errors() -> Call:
    from support import compiled as user

    r1, r2 = user.read("float32", 1), user.read("float32", 2)
    user.compile_for(user.layer, r2, r2, r1, user.types.unicode_type)
    huge = np.broadcast_to(X[:1, :1], (1 << 24, 1)), np.broadcast_to(X[:1, :1], (1, 1 << 24))
    bias = np.broadcast_to(B[:1], 1 << 24)

    def call() -> None:
        refused(user.layer, X, X, B, "tanh")
        refused(user.layer, X, W, B, "none such")
        refused(user.layer, *huge, bias, "tanh")  # no memory for the result

    return call


@numba.njit  # type: ignore[untyped-decorator]
def _refuse(x, weight, bias, name):  # type: ignore[no-untyped-def]
    if len(name) > 0:
        raise ValueError("refused")
    return x


@numba.njit  # type: ignore[untyped-decorator]
def _pass_on(x, weight, bias, name):  # type: ignore[no-untyped-def]
    return _refuse(x, weight, bias, name)


@scenario
def errors_of_numba() -> Call:
    """As many without fastgrad: numba loses what a frame holds that an error leaves, numba#1549."""

    def call() -> None:
        for _ in range(3):
            refused(_pass_on, X, W, B, "tanh")

    return call


@scenario
def compiled_products() -> Call:
    from support import compiled as user

    a = np.ones((9, 17), np.float32)
    return lambda: user.products(a, W, a.T, W.T)


@scenario
def leak_of_malloc() -> Call:
    """Of 16 bytes a call: to see that it is seen."""
    malloc = ctypes.CDLL(None).malloc
    return lambda: malloc(16)


@scenario
def leak_of_references() -> Call:
    return lambda: ctypes.pythonapi.Py_IncRef(ctypes.py_object(X))


@scenario
def leak_of_objects() -> Call:
    kept: list[object] = []
    return lambda: kept.append(object())


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]  # fmt: skip


class Found(NamedTuple):
    malloc: int  # bytes given out
    blocks: int  # of Python's allocator
    arrays: int  # of numba's run time
    references: int
    kept: int  # failures of compiled calls, one a thread
    resident: int  # bytes


def look() -> Found:
    gc.collect()
    info: Any = ctypes.CDLL(None).mallinfo2
    info.restype = Mallinfo
    malloc = info()
    arrays = rtsys.get_allocation_stats()
    return Found(
        malloc.uordblks + malloc.hblkhd,
        sys.getallocatedblocks(),
        arrays.mi_alloc - arrays.mi_free,
        sum(sys.getrefcount(one) for one in WATCHED),
        len(failures._kept),
        int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
    )


def measure(name: str, calls: int) -> dict[str, int]:
    call = SCENARIOS[name]()
    for _ in range(300):
        call()
    look()
    seen = [look()]
    for _ in range(2):  # what is taken once, whenever it is, is no growth
        for _ in range(calls // 2):
            call()
        seen.append(look())
    return {k: 2 * min(b - a, c - b) for k, a, b, c in zip(Found._fields, *seen, strict=True)}


if __name__ == "__main__":
    _nrt_python.memsys_enable_stats()
    for name in sys.argv[2:] or SCENARIOS:
        print(json.dumps({"name": name, **measure(name, int(sys.argv[1]))}), flush=True)

"""Calls whose operands lie between guard pages: ``python guards.py FIRST LAST [long]``.

Each case is printed before it runs: the last line of a process that died names it, and it runs
alone as ``guards.py N N+1``, long or not. Scratch of kernels lies between guard pages as well.
The last line is JSON: the cases of each kind, and the ways through the kernels that they took.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

import fastgrad
from fastgrad import MLP, SGD, AdamW, num_threads
from fastgrad._kernels.gemm.args import Formula, Rows
from fastgrad._kernels.gemm.elementwise import KERNELS
from fastgrad._kernels.runtime import scratch
from fastgrad._kernels.runtime.caches import MOST_L2_BYTES
from fastgrad._kernels.runtime.table import OK, SCRATCH, TABLE
from fastgrad._mlp import parameters as _parameters
from fastgrad._mlp import table as _table
from fastgrad._mlp.grad_norms import _times_derivative
from fastgrad._ops import losses as _losses
from fastgrad._ops import optimizers as _optim
from fastgrad._ops.kernel_call import data
from fastgrad._ops.kernel_call import run as run_kernel
from support import edges
from support.draw import LARGE, SIZES
from support.fuzz import PROMISES
from support.fuzz_case import Case
from support.guarded import flat, guard, pages
from support.layouts import Placed, place
from support.oracles import Array, assert_same_bits, floats

FLOATS = ("float32", "float64")
UNARY = ("exp", "log", "erf", "erfc", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "relu")
GUARDED_ARENAS = scratch.ARENAS  # a thread begins to look at any of them
KEPT: list[Array] = []  # the arenas


class Guarded(Case):
    """A case whose operands and targets lie between guard pages, flush against one of them."""

    def between(self, a: Array) -> Placed:
        upper = self.chance("flush above", 0.6)
        slack = self.pick("slack", 0, 0, 0, 0, 1, 3) if a.ndim else 0
        return guard(a, upper, slack)

    def placed(self, label: str, values: Array) -> Array:
        return self.between(super().placed(label, values)).array

    def target(self, label: str, values: Array) -> Placed:
        return self.between(super().target(label, values).array)

    def dense(self, *shape: int, positive: bool = False) -> Placed:
        values = floats(self.rng, *shape, dtype=self.dtype)
        return self.between(np.abs(values) if positive else values)


def products(c: Guarded) -> None:
    """Products, stacks and layers, forward and backward, in any layout: see fuzz.py."""
    PROMISES["layouts"](c)


def layers(c: Guarded) -> None:
    """linear_backward with every subset of its results, and sums of them."""
    PROMISES["fused"](c)


def losses(c: Guarded) -> None:
    n = c.near(1, edges.lanes(c.dtype), 2 * edges.lanes(c.dtype), c.upto(70))
    m = c.near(1, 2, 3, edges.lanes(c.dtype), c.upto(40), 1024, 1030)
    n, m = max(n, 1), max(m, 1)
    z, grad = floats(c.rng, n, m, dtype=c.dtype), c.dense(n, m)
    name = c.pick("loss", "labels", "probabilities", "binary", "squares")
    t: Array = np.abs(floats(c.rng, n, m, dtype=c.dtype)) % 1
    if name == "labels":
        t = c.rng.integers(0, m, n)
    function = {
        "binary": _losses._binary_cross_entropy_with_logits, "squares": _losses._mse,
    }.get(name, _losses._smoothed_cross_entropy)  # fmt: skip
    smoothing = (c.pick("smoothing", 0.0, 0.1),) if name in ("labels", "probabilities") else ()
    right = np.empty_like(z)
    expected = function(z, t, right, *smoothing)
    if name == "labels":
        # the kernel wants aligned labels: others are copied
        steps = {"steps": (c.upto(3),), "reverse": (0,) if c.chance("reversed") else ()}
        labels = guard(place(t, **steps).array, c.chance("labels flush above")).array
    else:
        labels = c.placed("targets", t)
    found = function(c.placed("logits", z), labels, grad.array, *smoothing)
    assert np.float64(found).tobytes() == np.float64(expected).tobytes(), c.log
    assert_same_bits(grad.array, right, f"gradient, {c.log}")
    assert grad.intact(), c.log


def optimizers(c: Guarded) -> None:
    count = c.near(1, edges.lanes(c.dtype), c.upto(300), 1 << 14, (1 << 16) + 5)
    is_adam = c.chance("Adam")
    param, g = c.dense(count), c.dense(count)
    state = [c.dense(count, positive=True) for _ in range(2 if is_adam else 1)]
    decay = c.pick("decay", 0.0, 0.1)

    def run(p: Array, *rest: Array) -> None:
        with num_threads(c.threads):
            if is_adam:
                _optim.adam_step(p, *rest, 3, weight_decay=decay)
            else:
                _optim.sgd_step(p, *rest[:1], 0.1, rest[1], momentum, nesterov, decay)

    momentum, nesterov = c.pick("momentum", (0.0, False), (0.9, False), (0.9, True))
    arrays = [param, g, *state]
    plain = [a.array.copy() for a in arrays]
    run(*plain)
    run(*(a.array for a in arrays))
    for a, right in zip(arrays, plain, strict=True):
        assert_same_bits(a.array, right, str(c.log))
        assert a.intact(), c.log


def norms(c: Guarded) -> None:
    count = c.near(1, 32, c.upto(300), 1 << 14, (1 << 15) + 40)
    grads = [c.dense(count), c.dense(c.upto(9), c.upto(40))]
    limit = c.pick("limit", 0.5, np.inf)
    plain = [g.array.copy() for g in grads]
    expected = fastgrad.clip_grad_norm(plain, limit)
    assert fastgrad.clip_grad_norm([g.array for g in grads], limit) == expected, c.log
    for g, right in zip(grads, plain, strict=True):
        assert_same_bits(g.array, right, str(c.log))
        assert g.intact(), c.log


def elementwise(c: Guarded) -> None:
    n, m = c.near(1, edges.lanes(c.dtype), c.upto(200)), c.near(1, edges.lanes(c.dtype), c.upto(99))
    kernel = KERNELS[c.pick("formula", *UNARY)]
    x, y = c.dense(n, positive=True), c.dense(n)
    right = np.empty_like(y.array)
    for source, to in ((x.array.copy(), right), (x.array, y.array)):
        args = Formula(1, n, Rows(data(source), 0), Rows(data(to), 0))
        assert run_kernel(kernel, to.dtype, args) == OK
    assert_same_bits(y.array, right, str(c.log))
    assert x.intact() and y.intact(), c.log

    name = c.pick("derivative", *edges.ACTIVATIONS)
    g, saved = c.dense(n, m), c.placed("saved", floats(c.rng, n, m, dtype=c.dtype))
    saved = saved if saved.strides[-1] == saved.itemsize else c.dense(n, m).array
    times = g.array.copy()
    _times_derivative(name, times, saved.copy())
    _times_derivative(name, g.array, saved)
    assert_same_bits(g.array, times, str(c.log))
    assert g.intact(), c.log


def as_another(c: Guarded, name: str, a: Array) -> Array:
    """Often of another dtype, in which a share stays one."""
    kind = c.pick(f"{name} as", c.dtype, c.dtype, *FLOATS, "i2", "u1", "?")
    return np.abs(a).astype(kind) if kind == "u1" else a.astype(kind)


def steps(c: Guarded) -> None:
    """A model whose parameters, buffers and batches lie between guard pages, and one without."""
    sizes = (c.upto(40), *(c.upto(70) for _ in range(c.upto(2, 0))), c.upto(20))
    loss = c.pick("loss", "softmax_cross_entropy", "mse", "binary_cross_entropy_with_logits")
    activation = c.pick("activation", *edges.ACTIVATIONS)
    optimizer = c.pick("optimizer", SGD(0.1), SGD(0.1, 0.9, True, 0.01), AdamW(weight_decay=0.1))
    clip = c.pick("clip", None, 0.1)
    upper = c.chance("buffers flush above")

    def new(size: int, dtype: Any, new: Any = None) -> Array:
        return flat(size, dtype, upper)

    def model() -> MLP:
        return MLP(sizes, activation, loss, optimizer, c.dtype, max_grad_norm=clip)

    plain = model()
    with mock.patch.object(_table, "aligned", new), mock.patch.object(_parameters, "aligned", new):
        guarded = model()
        for _ in range(3):
            n = max(1, c.near(1, 2, c.upto(90)))
            x = floats(c.rng, n, sizes[0], dtype=c.dtype)
            y: Array = np.abs(floats(c.rng, n, sizes[-1], dtype=c.dtype)) % 1
            grad = floats(c.rng, n, sizes[-1], dtype=c.pick("grad", *FLOATS))
            if loss == "softmax_cross_entropy" and c.chance("shares", 0.3):
                y = np.eye(sizes[-1], dtype=c.dtype)[c.rng.integers(0, sizes[-1], n)]
            elif loss == "softmax_cross_entropy":
                labels = c.rng.integers(0, sizes[-1], n).astype(c.pick("labels", "i8", "i4", "u1"))
                y = guard(place(labels, steps=(c.upto(3),)).array, c.chance("above")).array
            x, y = (
                a if a.ndim == 1 else as_another(c, name, a) for name, a in (("x", x), ("y", y))
            )
            w = c.pick("weights", None, np.ones(n, c.pick("kind", "f4", "f8", "u2")))
            with num_threads(c.threads):
                expected = plain.train_step(x, y.copy(), w)
                batch = y if y.ndim == 1 else c.placed("y", y)
                weights = None if w is None else c.placed("w", w)
                found = guarded.train_step(c.placed("x", x), batch, weights)
                assert np.float64(found).tobytes() == np.float64(expected).tobytes(), c.log
                expected = plain.predict(x), plain.forward(x, keep=True), plain.backward(grad, True)
                place_of_x = c.placed("x", x)
                found = guarded.predict(place_of_x), guarded.forward(place_of_x, keep=True)
                found += (guarded.backward(c.placed("grad", grad), True),)
            for a, b in zip(found, expected, strict=True):
                assert_same_bits(a, b, str(c.log))
    for a, b in zip(guarded.weights + guarded.biases, plain.weights + plain.biases, strict=True):
        assert_same_bits(a, b, str(c.log))


def compiled(c: Guarded) -> None:
    """From a user's compiled function."""
    from support import compiled as user

    m, n, k = (max(1, c.near(1, edges.lanes(c.dtype), c.upto(60))) for _ in range(3))
    if user.product_into.nopython_signatures == []:
        for dtype in edges.DTYPES:
            r, w, v = user.read(dtype, 2), user.written(dtype, 2), user.read(dtype, 1)
            user.product_into.compile((r, r, w, user.types.boolean))
            user.layer_into.compile((r, r, v, user.types.unicode_type, w, w))
        user.product_into.disable_compile()
        user.layer_into.disable_compile()
    a, b = (floats(c.rng, *shape, dtype=c.dtype) for shape in ((m, k), (k, n)))
    bias, name = c.dense(n), c.pick("activation", *edges.ACTIVATIONS)
    out, z = c.target("out", c.nan(m, n)), c.target("z", c.nan(m, n))
    found = user.product_into(c.placed("a", a), c.placed("b", b), out.array, False)
    assert_same_bits(found, fastgrad.matmul(a, b), str(c.log))
    assert out.intact(), c.log
    args = c.placed("x", a), c.placed("weight", b), bias.array, name
    y = user.layer_into(*args, out.array, z.array)
    assert_same_bits(y, fastgrad.linear_forward(a, b, bias.array.copy(), name), str(c.log))
    assert out.intact() and z.intact() and bias.intact(), c.log


Check = Callable[[Guarded], None]
KINDS: tuple[Check, ...] = (
    products, layers, losses, products, optimizers, steps, products, elementwise, norms,
)  # fmt: skip
LONG_KINDS = (*KINDS, compiled)


def guard_arenas() -> None:
    """Scratch of ARENA_BYTES, flush against the guard above, for the first of the arenas."""
    for i in range(GUARDED_ARENAS):
        state = SCRATCH + 2 * i
        assert TABLE[state] == 0, "in use"
        memory = pages(scratch.ARENA_BYTES)[-scratch.ARENA_BYTES :]
        memory[:8].view(np.int64)[0] = ctypes.addressof(TABLE) + 8 * state  # see scratch.py
        TABLE[state + 1] = memory.ctypes.data
        KEPT.append(memory)


def fill_an_arena() -> None:
    """The largest block of A, and as many copies of B behind it as there is room for."""
    rng = np.random.default_rng(0)
    for dtype in edges.DTYPES:
        k, columns = edges.KC[dtype], edges.tile_columns(dtype)
        rows = MOST_L2_BYTES // (2 * k * edges.itemsize(dtype)) // edges.ISA.rows * edges.ISA.rows
        a = rng.integers(-4, 5, (2 * rows, k)).astype(dtype)
        b = rng.integers(-4, 5, (k, edges.block_columns(dtype) + columns + 1)).astype(dtype)
        right = a @ b
        for right_operand in (b, np.asfortranarray(b)):
            with edges.l2(MOST_L2_BYTES), num_threads(1):
                assert (fastgrad.matmul(a, right_operand) == right).all(), dtype


def draw(
    number: int, kinds: tuple[Check, ...], sizes: tuple[str, ...], kind: type[Guarded] = Guarded
) -> Guarded:
    """Of every kind the first, second, ...: each dtype and size in turn."""
    rounds, place = divmod(number, len(kinds))
    before = rounds * kinds.count(kinds[place]) + kinds[:place].count(kinds[place])
    return kind(kinds[place].__name__, before, sizes, False)


def run(first: int, last: int, long: bool) -> dict[str, Any]:
    kinds = LONG_KINDS if long else KINDS
    sizes = tuple(SIZES) if long else tuple(kind for kind in SIZES if kind not in LARGE)
    counts: Counter[str] = Counter()
    ways: set[str] = set()
    for number in range(first, last):
        check = kinds[number % len(kinds)]
        print(f"case {number}: {check.__name__}", flush=True)
        case = draw(number, kinds, sizes)
        try:
            check(case)
        except Exception as error:
            raise AssertionError(f"case {number}: {error}; {', '.join(case.log)}") from error
        counts[check.__name__] += 1
        ways |= case.ways
    return {"isa": edges.ISA.name, "cases": counts, "ways": sorted(ways)}


if __name__ == "__main__":
    faulthandler.enable()
    guard_arenas()
    if sys.argv[1] == "0":
        fill_an_arena()
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), "long" in sys.argv)))

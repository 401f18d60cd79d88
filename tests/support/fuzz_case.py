"""A fuzzed case: a product or a layer, drawn, called in any layout, compared with the formula."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn, num_threads
from fastgrad._kernels.runtime.caches import LEAST_L2_BYTES
from fastgrad._kernels.runtime.table import L2_BYTES, TABLE
from support import edges
from support.control_word import flushing
from support.draw import SIZES, Draw
from support.oracles import (
    Array,
    Grads,
    assert_same_bits,
    contract_activation,
    contract_backward_both,
    contract_both,
    contract_h,
    saved_for,
)
from support.watch import Watch

THREADS = (1, 2, 3, 8)  # more than there are cores, too


class Case(Draw):
    """A drawn case that calls fastgrad, and remembers the ways through the kernels it took."""

    def __init__(self, promise: str, number: int, kinds: tuple[str, ...], flush: bool) -> None:
        super().__init__(zlib.crc32(promise.encode()), number)
        self.dtype = edges.DTYPES[number % 2]
        self.kind = kinds[number // 2 % len(kinds)]
        self.log += [self.dtype, self.kind]
        self.l2 = TABLE[L2_BYTES] if number // (2 * len(kinds)) % 2 else LEAST_L2_BYTES
        self.log.append(f"L2 of {self.l2} bytes")
        self.flush = flush
        self.threads = self.pick("threads", 1, 1, *THREADS)
        self.ways: set[str] = set()

    def call(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Watched every second time: a spy on each kernel disturbs what threads do."""
        flush = flushing() if self.flush else nullcontext()
        with edges.l2(self.l2), num_threads(self.threads), flush:
            if self.rng.random() < 0.5:
                return function(*args, **keywords)
            with Watch(self.dtype) as watch:
                result = function(*args, **keywords)
        self.ways |= watch.ways()
        return result

    def sizes(self) -> tuple[int, int, int]:
        found = SIZES[self.kind](self, self.dtype)
        self.log.append(f"sizes {found}")
        return found

    def same(self, actual: Any, expected: Any, what: str) -> None:
        try:
            assert_same_bits(actual, expected, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {', '.join(self.log)}") from None

    def operand(self, kind: str, *shape: int) -> Array:
        values = self.values(kind, self.dtype, *shape)
        if values.size and self.rng.random() < 0.05:
            axis = self.upto(len(shape) - 1, 0)
            values = np.broadcast_to(values.take([0], axis), shape)
        return values

    def nan(self, *shape: int) -> Array:
        return np.full(shape, np.nan, self.dtype)


# What is computed -------------------------------------------------------------------------------


class Product:
    """a (m, k) · b (k, n), written and added to old."""

    def __init__(self, c: Case) -> None:
        m, n, k = c.sizes()
        kind = c.kind_of_values(m * n * k)
        self.a = c.operand(kind, m, k)
        self.b = c.operand(c.pick("b", kind, kind, "usual"), k, n)
        self.old = c.values(kind, c.dtype, m, n)
        if c.flush:
            added = self.old.copy()
            self.expected = c.call(matmul, self.a, self.b), added
            c.call(matmul, self.a, self.b, added, True)
        else:
            self.expected = contract_both(self.a, self.b, self.old)

    def check(self, c: Case) -> None:
        """In some layout, by some name, into new memory, given memory, or added to it."""
        function = c.pick("by", matmul, matmul, matmul_nt, matmul_tn)
        left, right = self.a, self.b
        if function is matmul_tn:
            left = left.T
        if function is matmul_nt:
            right = right.T
        left, right = c.placed("a", left), c.placed("b", right)
        drop: list[int] = []  # axes of a vector
        if len(self.a) == 1 and c.chance("vector a", 0.3):
            left, drop = left.reshape(-1) if left.size else left.ravel(), [0]
        if self.b.shape[1] == 1 and c.chance("vector b", 0.3):
            right, drop = right.reshape(-1), [*drop, 1]

        def part(values: Array) -> Array:
            return np.squeeze(values, tuple(drop)) if drop else values

        form = c.pick("into", "new", "out", "sum")
        expected = part(self.expected[form == "sum"])
        if form == "new":
            c.same(c.call(function, left, right), expected, "product")
            return
        out = c.target("out", part(self.old if form == "sum" else c.nan(*self.old.shape)))
        assert c.call(function, left, right, out.array, form == "sum") is out.array
        c.same(out.array, expected, f"product, {form}")
        assert out.intact(), c.log


class Layer:
    """x (n, k), weight (k, m), bias (m,), G (n, m): forward, and backward added to old or not."""

    def __init__(self, c: Case, sizes: tuple[int, int, int] | None = None) -> None:
        if sizes is None:
            found = c.sizes()
            sizes = tuple(found[i] for i in c.pick("as", (0, 2, 1), (0, 1, 2), (2, 0, 1)))
        n, k, m = sizes
        c.log.append(f"layer {(n, k, m)}")
        cheap = (None, "relu") if n * m > 50_000 else (None, *edges.ACTIVATIONS)
        self.activation = c.pick("activation", *cheap)
        kind = c.kind_of_values(n * k * m)
        self.x, self.w = c.operand(kind, n, k), c.operand(kind, k, m)
        self.bias = c.operand(kind, m) if c.chance("bias") else None
        self.g = c.operand(kind, n, m)
        self.old = tuple(c.values(kind, c.dtype, *shape) for shape in ((n, k), (k, m), (m,)))
        self.compute_forward(c)
        self.saved = saved_for(self.activation, self.y, self.z)
        self.compute_backward(c)

    def compute_forward(self, c: Case) -> None:
        if c.flush:
            self.z = c.nan(len(self.x), self.w.shape[1])
            self.y = c.call(
                linear_forward, self.x, self.w, self.bias, self.activation, None, self.z
            )
            return
        product = contract_both(self.x, self.w)[0]
        with np.errstate(all="ignore"):
            self.z = product if self.bias is None else product + self.bias
        self.y = contract_activation(self.activation, self.z)

    def compute_backward(self, c: Case) -> None:
        if c.flush:
            self.h = self.g
            added = tuple(v.copy() for v in self.old)
            written: Any = self.backward(c, self.g, self.x, self.w, self.saved)
            self.backward(c, self.g, self.x, self.w, self.saved, out=added, accumulate=True)
            self.expected = written, Grads(*added)
            return
        self.h = contract_h(self.g, self.activation, next(iter(self.saved.values()), None))
        self.expected = contract_backward_both(self.h, self.x, self.w, self.old)

    def backward(self, c: Case, g: Array, x: Array, w: Array, saved: Any, **keywords: Any) -> Any:
        return c.call(linear_backward, g, x, w, self.activation, **saved, **keywords)

    def laid_out(self, c: Case) -> tuple[Array, Array, Array, dict[str, Array]]:
        """G, x, weight, what was saved"""
        saved = {name: c.placed(name, v) for name, v in self.saved.items()}
        return c.placed("g", self.g), c.placed("x", self.x), c.placed("w", self.w), saved

    def check_forward(self, c: Case) -> None:
        x, w = c.placed("x", self.x), c.placed("w", self.w)
        bias = None if self.bias is None else c.placed("bias", self.bias)
        out = c.target("out", c.nan(*self.y.shape)) if c.chance("out") else None
        pre = c.target("z", c.nan(*self.y.shape)) if c.chance("z") else None
        arrays = [None if t is None else t.array for t in (out, pre)]
        y = c.call(linear_forward, x, w, bias, self.activation, *arrays)
        c.same(y, self.y, "y")
        if out is not None:
            assert y is out.array and out.intact(), c.log
        if pre is not None:
            c.same(pre.array, self.z, "z")
            assert pre.intact(), c.log

    def check_backward(self, c: Case) -> None:
        g, x, w, saved = self.laid_out(c)
        if c.chance("superfluous", 0.3):
            unused = c.nan(*self.y.shape)
            saved = {"output": unused, "preactivation": unused, **saved}
        needs = [c.chance("needed", 0.8) for _ in range(3)]
        adds = [c.chance("added") for _ in range(3)]
        starts = [
            old if add else c.nan(*old.shape) for old, add in zip(self.old, adds, strict=True)
        ]
        outs = [c.target("out", v) if c.chance("given") else None for v in starts]
        arrays = tuple(None if t is None else t.array for t in outs)
        accumulate = tuple(adds) if any(t is not None for t in outs) else False
        grads = self.backward(
            c, g, x, w, saved, needs=tuple(needs), out=arrays, accumulate=accumulate
        )
        for i, name in enumerate(Grads._fields):
            given, target = grads[i], outs[i]
            if not needs[i]:
                assert given is None, c.log
                if target is not None:
                    c.same(target.array, starts[i], f"d{name} that is not needed")
                continue
            c.same(given, self.expected[adds[i] and target is not None][i], f"d{name}")
            if target is not None:
                assert given is target.array and target.intact(), c.log

"""Fuzzed cases of the contract's promises, each compared with the scalar formula.

A case is a number: ``python -m support.fuzz layouts 0 1000`` runs a thousand of promise 2 for
whatever CPU numba compiles for (NUMBA_CPU_NAME) and prints one line of JSON. A failure names the
case, which runs alone as ``layouts 17 18``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn
from support import edges
from support.control_word import KNOWN
from support.draw import LARGE, SIZES
from support.fuzz_case import THREADS, Case, Layer, Product
from support.oracles import (
    Grads,
    contract_backward_both,
    contract_both,
    contract_forward,
    contract_h,
    saved_for,
)
from support.watch import WAYS


def _check(c: Case, rounds: Iterable[int]) -> None:
    """One product or layer, as often as ``rounds`` has numbers of threads (0: as they are)."""
    what = c.pick("what", "product", "product", "forward", "backward")
    if what == "product":
        check = Product(c).check
    else:
        layer = Layer(c)
        check = layer.check_forward if what == "forward" else layer.check_backward
    for threads in rounds:
        c.threads = threads or c.threads
        c.log.append(f"threads {c.threads}")
        check(c)


def threads(c: Case) -> None:
    _check(c, THREADS)


def layouts(c: Case) -> None:
    if c.kind not in LARGE and c.chance("stack", 0.12):
        _stack(c)
    else:
        _check(c, (0, 0, 0))


def _stack(c: Case) -> None:
    """a (s, m, k) · b (s, k, n) or (k, n), and x of several leading dimensions; or layers."""
    m, n, k = c.sizes()
    if not c.flush and c.chance("layers", 0.4):
        _layers(c, min(m, 60), k, min(n, 60))
        return
    m, n, s = min(m, 60), min(n, 60), c.upto(3)
    a, b = c.operand("usual", s, m, k), c.operand("usual", s, k, n)
    if c.chance("one b"):
        b = np.ascontiguousarray(b[0])
    old = c.operand("usual", s, m, n)
    each = [b] * s if b.ndim == 2 else b
    pairs = [contract_both(x, y, z) for x, y, z in zip(a, each, old, strict=True)]
    if c.flush:
        pairs = [(c.call(matmul, x, y), z) for x, y, z in zip(a, each, old, strict=True)]
    for _ in range(3):
        left, right = c.placed("a", a), c.placed("b", b)
        add = not c.flush and c.chance("sum")
        expected = np.stack([pair[add] for pair in pairs])
        out = c.target("out", old if add else c.nan(s, m, n))
        c.call(matmul, left, right, out.array, add)
        c.same(out.array, expected, "stack")
        assert out.intact(), c.log
        c.same(c.call(matmul, left, right), np.stack([pair[0] for pair in pairs]), "new stack")
        if b.ndim == 2:
            y = c.call(linear_forward, left, right)
            c.same(y, np.stack([pair[0] for pair in pairs]), "leading dimensions")


def _layers(c: Case, n: int, k: int, m: int) -> None:
    """weight (s, k, m), bias (s, m), x (s, n, k) or (n, k) for all."""
    s, one_x = c.upto(3), c.chance("one x", 0.3)
    activation = c.pick("activation", None, *edges.ACTIVATIONS)
    x, w = c.operand("usual", *((n, k) if one_x else (s, n, k))), c.operand("usual", s, k, m)
    bias, g = c.operand("usual", s, m), c.operand("usual", s, n, m)
    xs = [x] * s if one_x else x
    both = [contract_forward(*layer, activation) for layer in zip(xs, w, bias, strict=True)]
    y, z = (np.stack(arrays) for arrays in zip(*both, strict=True))
    out, pre = c.target("out", c.nan(s, n, m)), c.target("z", c.nan(s, n, m))
    left, right = c.placed("x", x), c.placed("w", w)
    c.call(linear_forward, left, right, c.placed("bias", bias), activation, out.array, pre.array)
    c.same(out.array, y, "y of layers")
    c.same(pre.array, z, "z of layers")
    assert out.intact() and pre.intact(), c.log

    saved = saved_for(activation, y, z)
    old = [c.operand("usual", *v.shape).copy() for v in (x, w, bias)]
    add, expected = c.chance("sum"), [v.copy() for v in old]
    for i in range(s):
        h = contract_h(g[i], activation, next((v[i] for v in saved.values()), None))
        to = expected[0] if one_x else expected[0][i], expected[1][i], expected[2][i]
        grads = contract_backward_both(h, xs[i], w[i], to)
        for j, place in enumerate(to):
            place[...] = grads[add or (j == 0 and one_x and i > 0)][j]
    outs = [c.target("out", v if add else c.nan(*v.shape)) for v in old]
    saved = {name: c.placed(name, v) for name, v in saved.items()}
    c.call(
        linear_backward, c.placed("g", g), left, right, activation, **saved,
        out=tuple(t.array for t in outs), accumulate=add,
    )  # fmt: skip
    for name, target, wanted in zip(Grads._fields, outs, expected, strict=True):
        c.same(target.array, wanted, f"d{name} of layers")
        assert target.intact(), c.log


def batches(c: Case) -> None:
    layer = Layer(c)
    n = len(layer.x)
    g, x, w, saved = layer.laid_out(c)
    bias = layer.bias
    for _ in range(4):
        kind = c.pick("rows", "run", "run", "some", "one", "all", "several dimensions")
        first = c.upto(n - 1, 0)
        rows: Any = slice(first, first + c.near(1, 2, edges.ISA.rows, 17, n - first))
        if kind == "some":
            rows = c.rng.integers(0, n, c.upto(40)) if n else np.zeros(0, np.intp)
        elif kind == "one" and n:
            rows = first
        elif kind != "run":
            rows = slice(None)
        c.log.append(str(rows))
        part, y, dx = x[rows], layer.y[rows], layer.expected[0].x[rows]
        h, held = g[rows], {name: v[rows] for name, v in saved.items()}
        if kind == "several dimensions" and n:
            lead = next(i for i in (3, 2, 1) if n % i == 0)
            part, y, dx, h = (v.reshape(lead, n // lead, v.shape[1]) for v in (part, y, dx, h))
            held = {name: v.reshape(h.shape) for name, v in held.items()}
        c.same(c.call(linear_forward, part, w, bias, layer.activation), y, f"y of rows {rows}")
        needs = (True, c.chance("dW", 0.3), False)
        found = layer.backward(c, h, part, w, held, needs=needs).x
        c.same(found, dx, f"dX of rows {rows}")


def fused(c: Case) -> None:
    layer = Layer(c)
    g, x, w, saved = layer.laid_out(c)
    product = c.call(matmul, x, w)
    if layer.bias is not None:
        with np.errstate(all="ignore"):
            product = c.call(np.add, product, layer.bias)
    c.same(product, layer.z, "z from its parts")
    for _ in range(2):
        layer.check_forward(c)
    h = layer.h
    if not c.flush:
        c.same(c.call(matmul_nt, h, w), layer.expected[0].x, "dX from its parts")
        c.same(c.call(matmul_tn, x, h), layer.expected[0].weight, "dW from its parts")
        ones = np.ones(len(h), c.dtype)
        if len(h):
            c.same(c.call(matmul, ones, h), layer.expected[0].bias, "db from its parts")
    for subset in range(1, 8):
        needs = tuple(bool(subset >> i & 1) for i in range(3))
        add = c.chance("sum")
        out = tuple((v if add else c.nan(*v.shape)).copy() for v in layer.old)
        grads = layer.backward(c, g, x, w, saved, needs=needs, out=out, accumulate=add)
        for i, name in enumerate(Grads._fields):
            if needs[i]:
                c.same(grads[i], layer.expected[add][i], f"d{name} of {needs}")
            else:
                assert grads[i] is None, c.log


def microbatches(c: Case) -> None:
    kc = edges.KC[c.dtype]
    blocks = c.upto(6)
    n = (blocks - 1) * kc + max(1, c.near(1, kc // 2, kc))
    k = c.near(1, edges.ISA.rows, c.upto(300))
    most = 150_000_000 if c.kind in LARGE else 3_000_000  # fused multiply-adds
    m = c.near(1, edges.lanes(c.dtype), min(kc + 20, most // (n * max(k, 1))))
    layer = Layer(c, (n, k, m))
    g, x, w, saved = layer.laid_out(c)
    for _ in range(2):
        ends = [i * kc for i in range(1, blocks) if c.rng.random() < 0.6]
        starts = [0, *(end for end in ends if end < n)]
        c.log.append(f"pieces from {starts}")
        dw, db = c.target("dW", c.nan(k, m)), c.target("db", c.nan(m))
        product = c.nan(k, m)
        for start, stop in zip(starts, [*starts[1:], n], strict=True):
            rows = slice(start, stop)
            held = {name: v[rows] for name, v in saved.items()}
            needs = (c.chance("dX", 0.3), True, True)
            out, add = (None, dw.array, db.array), start > 0
            grads = layer.backward(
                c, g[rows], x[rows], w, held, needs=needs, out=out, accumulate=add
            )
            if needs[0]:
                c.same(grads.x, layer.expected[0].x[rows], f"dX of rows {start} to {stop}")
            if not c.flush:
                c.call(matmul_tn, x[rows], layer.h[rows], product, add)
        c.same(dw.array, layer.expected[0].weight, "dW")
        c.same(db.array, layer.expected[0].bias, "db")
        assert dw.intact() and db.intact(), c.log
        if not c.flush:
            c.same(product, layer.expected[0].weight, "product in pieces")


PROMISES: dict[str, Callable[[Case], None]] = {
    "threads": threads,
    "layouts": layouts,
    "batches": batches,
    "fused": fused,
    "microbatches": microbatches,
}
QUICK, LONG, FLUSHED = 104, 1000, 260  # cases: of the usual suite, and of `-m fuzz`
QUICK_KINDS = tuple(kind for kind in SIZES if kind not in LARGE)


def run(
    promise: str, cases: Iterable[int], *, large: bool = False, flush: bool = False
) -> set[str]:
    """Check the cases; the ways through the kernels that they took together."""
    kinds = tuple(SIZES) if large else QUICK_KINDS
    taken: set[str] = set()
    for number in cases:
        case = Case(promise, number, kinds, flush)
        try:
            PROMISES[promise](case)
        except Exception as error:
            how = f"fuzz.run({promise!r}, [{number}], large={large}, flush={flush})"
            raise AssertionError(f"{how}: {error}; {', '.join(case.log)}") from error
        taken |= case.ways
    return taken


# Ways that a hundred cases of some promise may miss: test_promise_4_cpus.py takes them all.
SELDOM = {
    "columns in several chunks", "k in several blocks", "panels found again", "copies found again",
    "panel by panel", "B packed on the way", "more parts", "inner product", "split k",
    "ring used again", "turned in tasks", "A in panels", "H by rows", "H in tasks", "H in place",
    "several runs",  # of vectors of 128 bits
    "gathered",  # with those of 256, in micro-batches
}  # fmt: skip


# db alone is not asked for; the batch is not long enough.
NEVER = {
    "batches": {"H in place"},
    "microbatches": {"ring used again", "columns in several chunks", "several runs"},
}


def some(promise: str) -> None:
    """The quick version of a test: some seconds."""
    missed = WAYS - run(promise, range(QUICK))
    assert missed <= SELDOM, f"not taken: {missed - SELDOM}"


def many(promise: str, capsys: Any) -> None:
    """The long version: prints how many cases there were, and takes every way that it can."""
    flushed = FLUSHED if KNOWN else 0
    run(promise, range(flushed), flush=True)
    taken = run(promise, range(LONG), large=True)
    with capsys.disabled():
        print(
            f"\n{promise}, {edges.ISA.name}: {LONG} cases, {len(taken)} of {len(WAYS)} ways, "
            f"and {flushed} flushing to zero"
        )
    missed = WAYS - taken
    assert missed <= NEVER.get(promise, set()), f"not taken: {missed}"


if __name__ == "__main__":
    name, first, last = sys.argv[1], *map(int, sys.argv[2:4])
    ways = sorted(run(name, range(first, last), large=True, flush="flush" in sys.argv))
    print(json.dumps({"isa": edges.ISA.name, "cases": last - first, "ways": ways}))

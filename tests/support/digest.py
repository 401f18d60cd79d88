"""A fixed set of cases, run for whatever CPU numba compiles for; prints one line of JSON.

Run as a program, in a process of its own: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose the CPU.
With the argument ``small`` only promises 2 and 3 are looked at, which hold without FMA too.
`results` computes each case with fastgrad, `expected` with the scalar formula: a digest that is
expected on one machine is right on every other.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import fastgrad
from fastgrad import (
    BITS_VERSION,
    MLP,
    SGD,
    Adam,
    AdamW,
    linear_backward,
    linear_forward,
    matmul,
    num_threads,
)
from support import edges, oracles
from support.draw import VALUES, Draw
from support.layouts import laid_out
from support.oracles import (
    Array,
    bits,
    contract_backward_both,
    contract_both,
    contract_forward,
    contract_h,
    exact_matmul,
    floats,
    integers,
    saved_for,
)
from support.watch import Watch

Found = dict[str, Array]
SETTINGS = (
    SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    SGD(0.05),
    Adam(0.01, weight_decay=0.1),
    AdamW(0.01, weight_decay=0.1),
)


class Both:
    """Each case runs twice: by fastgrad, and by the formula."""

    def __init__(self, dtype: str, by_formula: bool) -> None:
        self.dtype, self.by_formula = dtype, by_formula
        self.found: Found = {}
        self.ways: set[str] = set()

    def run(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        with edges.l2(), Watch(self.dtype) as watch:  # several blocks of all that are not small
            result = function(*args, **keywords)
        self.ways |= watch.ways()
        return result


def _products(dtype: str) -> dict[str, tuple[int, int, int, str, str, int]]:
    """name -> m, k, n, layouts, threads. The sizes do not depend on the CPU's tiles."""
    kc = edges.KC[dtype]
    more = (1 << 27) * 4 // edges.itemsize(dtype)  # fused multiply-adds: see MORE_PARTS_FMAS
    return {
        "one by one": (1, 7, 1, "C", "C", 1),
        "nothing to add": (5, 0, 9, "C", "C", 1),
        "direct": (7, kc + 1, 33, "C", "C", 1),
        "one step": (13, 1, 65, "F", "C", 1),
        "packed, one thread": (70, 2 * kc + 1, 130, "C", "F", 1),
        "packed on the way": (70, 2 * kc + 1, 130, "C", "C", 1),
        "packed, chunks of columns": (40, kc + 3, 1700, "C", "C", 1),
        "packed, chunks of columns, A by k": (40, kc + 3, 1700, "F", "F", 1),
        "outer, chunks of columns": (270, 64, 1100, "C", "C", 1),
        "packed, A by k": (90, kc + 3, 1300, "F", "F", 1),
        "dot": (1, 40 * kc + 7, 1, "C", "C", 1),
        "one row": (1, kc + 9, 700, "C", "C", 3),
        "one row, B by columns": (1, kc + 9, 701, "C", "F", 3),
        "few rows": (4, kc + 9, 333, "C", "C", 3),
        "few rows, one tile": (7, kc + 9, 333, "C", "C", 3),
        "few rows, B by columns": (6, kc + 9, 333, "F", "F", 3),
        "narrow": (700, kc + 9, 9, "F", "C", 3),
        "few rows, strided": (3, kc + 9, 1333, "F", "every third column", 3),
        "few rows, several runs": (3, kc + 9, 1400, "C", "C", 1),
        "panel by panel": (31, kc + 9, 600, "C", "C", 3),
        "few columns": (1333, kc + 9, 3, "F", "C", 3),
        "few columns, A by rows": (1333, kc + 9, 2, "C", "C", 3),
        "few columns, strided": (1333, kc + 9, 2, "every third column", "F", 3),
        "outer": (333, 2, 900, "C", "C", 3),
        "parts": (65, kc + 40, 131, "C", "C", 3),
        "parts, strided": (65, kc + 40, 131, "both reversed, strided", "one byte off", 3),
        "tall": (9, 40 * kc + 3, 17, "F", "C", 3),
        "more parts": (301, 2 * kc + 5, more // (301 * 2 * kc) + 31, "C", "C", 3),
    }


def _run_products(both: Both, rng: np.random.Generator) -> None:
    for name, (m, k, n, left, right, threads) in _products(both.dtype).items():
        a, b = floats(rng, m, k, dtype=both.dtype), floats(rng, k, n, dtype=both.dtype)
        old = floats(rng, m, n, dtype=both.dtype)
        if both.by_formula:
            pair = contract_both(a, b, old)
        else:
            a, b = laid_out(a, left), laid_out(b, right)
            with num_threads(threads):
                pair = both.run(matmul, a, b), both.run(matmul, a, b, old.copy(), True)
        both.found[f"product, {name}"], both.found[f"accumulated, {name}"] = pair
    a, b = floats(rng, 3, 2, 5, 70, dtype=both.dtype), floats(rng, 2, 70, 9, dtype=both.dtype)
    pairs = itertools.product(range(3), range(2))
    both.found["stack"] = (
        np.array([contract_both(a[i, j], b[j])[0] for i, j in pairs]).reshape(3, 2, 5, 9)
        if both.by_formula
        else both.run(matmul, a, b)
    )


def _run_values(both: Both) -> None:
    """Values of every kind: infinite, not a number, subnormal, overflowing."""
    for i, kind in enumerate(("usual", *VALUES)):
        d = Draw(5, i)
        a, b = (d.values(kind, both.dtype, *s) for s in ((9, 70), (70, 33)))
        product = contract_both(a, b)[0] if both.by_formula else both.run(matmul, a, b)
        both.found[f"product of {kind}"] = product


ALL = (None, *edges.ACTIVATIONS)
LAYERS: dict[str, tuple[tuple[int, int, int], tuple[Any, ...]]] = {  # (n, k, m), activations
    "small": ((37, 19, 35), ALL),
    "deep": ((1030, 40, 45), (None, "tanh")),
    "wide": ((70, 30, 1100), (None, "silu")),
    "large": ((1100, 9, 560), (None, "relu")),
}


def _run_layers(both: Both, rng: np.random.Generator) -> None:
    """Forward and backward with each activation; every subset of needs, written and added."""
    dtype, run = both.dtype, both.run
    for shape, ((n, k, m), names) in LAYERS.items():
        x, w = floats(rng, n, k, dtype=dtype), floats(rng, k, m, dtype=dtype)
        bias, g = floats(rng, m, dtype=dtype), floats(rng, n, m, dtype=dtype)
        old = tuple(floats(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (m,)))
        for name, threads in itertools.product(names, (1, 3)):
            title = f"{shape} {name}, {threads} threads"
            if both.by_formula:
                y, z = contract_forward(x, w, bias, name)
                h = contract_h(g, name, next(iter(saved_for(name, y, z).values()), None))
                every: Any = contract_backward_both(h, x, w, old)
            else:
                z = np.empty_like(g)
                with num_threads(threads):
                    y = run(linear_forward, x, w, bias, name, preactivation_out=z)
            both.found |= {f"y {title}": y, f"z {title}": z}
            subsets = itertools.product((False, True), repeat=3)
            for needs, add in itertools.product([*subsets][1:], (False, True)):
                if both.by_formula:
                    grads = every[add]
                else:
                    out = tuple(v.copy() for v in old)
                    keywords = {"needs": needs, "out": out, "accumulate": add}
                    with num_threads(threads):
                        saved = saved_for(name, y, z)
                        grads = run(linear_backward, g, x, w, name, **saved, **keywords)
                for field, value, needed in zip(grads._fields, grads, needs, strict=True):
                    if needed:
                        both.found[f"d{field} {title}, {needs}, added {add}"] = value


def _targets(loss: str, rng: np.random.Generator, dtype: str, n: int, m: int) -> Array:
    if loss == "softmax_cross_entropy":
        return rng.integers(0, m, n)
    return rng.random((n, m)).astype(dtype)


def _run_training(both: Both, rng: np.random.Generator) -> None:
    """Losses, optimizer steps, and a few steps of training."""
    dtype, n = both.dtype, edges.KC[both.dtype] + 3
    home: Any = oracles.losses if both.by_formula else fastgrad
    for loss in oracles.LOSSES:
        z, target = 4 * floats(rng, n, 11, dtype=dtype), _targets(loss, rng, dtype, n, 11)
        value, gradient = getattr(home, loss)(z, target)
        both.found |= {f"{loss}": np.array(value), f"gradient of {loss}": gradient}
    first, *others = oracles.LOSSES
    for settings, loss in zip(SETTINGS, (first, *others, first), strict=True):
        model = MLP((20, 33, 7), "gelu", loss, settings, dtype, seed=1)
        training = oracles.Training(model)
        x, target = floats(rng, 50, 20, dtype=dtype), _targets(loss, rng, dtype, 50, 7)
        step = training.step if both.by_formula else model.train_step
        title = f"{loss} by {settings}"
        both.found[f"losses of {title}"] = np.array([step(x, target) for _ in range(4)])
        params = training.params if both.by_formula else (*model.weights, *model.biases)
        both.found |= {f"parameter {i} of {title}": p.copy() for i, p in enumerate(params)}
        p, g = floats(rng, 500, dtype=dtype), floats(rng, 500, dtype=dtype)
        state = tuple(np.zeros_like(p) for _ in range(settings.slots))
        for i in range(1, 4):
            if both.by_formula:
                oracles.optimizer_step(settings, p, g, state, i)
            elif isinstance(settings, SGD):
                s = settings
                velocity = state[0] if state else None
                fastgrad.sgd_step(p, g, s.lr, velocity, s.momentum, s.nesterov, s.weight_decay)
            else:
                s = settings
                numbers = s.lr, s.betas, s.eps, s.weight_decay, s.decoupled
                fastgrad.adam_step(p, g, *state, i, *numbers)
        both.found[f"steps of {settings}"] = np.array([p, *state])


@functools.cache
def _all(dtype: str, by_formula: bool) -> Both:
    both = Both(dtype, by_formula)
    _run_products(both, np.random.default_rng(4))
    _run_values(both)
    _run_layers(both, np.random.default_rng(5))
    _run_training(both, np.random.default_rng(6))
    return both


def _digests(by_formula: bool) -> dict[str, str]:
    """Of each case; NaNs count as one value."""
    return {
        f"{dtype} {name}": hashlib.sha256(f"{v.shape}".encode() + bits(v).tobytes()).hexdigest()[:8]
        for dtype in edges.DTYPES
        for name, v in sorted(_all(dtype, by_formula).found.items())
    }


def results() -> dict[str, str]:
    """Digests of what fastgrad computes here."""
    return _digests(by_formula=False)


def expected() -> dict[str, str]:
    """Digests of what the formula gives, on any CPU."""
    return _digests(by_formula=True)


def ways() -> set[str]:
    """The ways through the kernels that the results of both dtypes took."""
    first, second = (_all(dtype, by_formula=False).ways for dtype in edges.DTYPES)
    return first & second


def digest() -> str:
    """Of all results."""
    whole = f"BITS_VERSION {BITS_VERSION} {json.dumps(results())}"
    return hashlib.sha256(whole.encode()).hexdigest()


def layouts_agree() -> bool:
    """Promise 2, in small."""
    for dtype in edges.DTYPES:
        rng = np.random.default_rng(2)
        k, n = edges.KC[dtype] + 1, edges.tile_columns(dtype) + 1
        for m in (edges.ISA.rows + 1, edges.block_rows(dtype) + 1):
            a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
            expected = bits(matmul(a, b))
            for left, right in (("F", "C"), ("C", "F"), ("every third column", "one byte off")):
                with edges.l2():
                    c = matmul(laid_out(a, left), laid_out(b, right))
                if (bits(c) != expected).any():
                    return False
    return True


def batches_agree() -> bool:
    """Promise 3, in small."""
    for dtype in edges.DTYPES:
        rng = np.random.default_rng(3)
        x = floats(rng, 100, edges.KC[dtype] + 1, dtype=dtype)
        w = floats(rng, x.shape[1], 70, dtype=dtype)
        y = bits(linear_forward(x, w, None, "gelu"))
        for rows in (slice(0, 1), slice(99, 100), slice(3, 10), slice(1, 64)):
            if (bits(linear_forward(x[rows], w, None, "gelu")) != y[rows]).any():
                return False
    return True


def products_are_right() -> bool:
    """Integers, over a few edges of this CPU's tiles."""
    for dtype in edges.DTYPES:
        rng = np.random.default_rng(1)
        for m in edges.row_edges():
            for n in edges.column_edges(dtype):
                a, b = integers(rng, m, 9, dtype=dtype), integers(rng, 9, n, dtype=dtype)
                for right in ("C", "F"):
                    if (matmul(a, laid_out(b, right)) != exact_matmul(a, b)).any():
                        return False
    return True


def report() -> dict[str, Any]:
    """What is printed; promises 2 and 3 in small alone where there are arguments."""
    found: dict[str, Any] = {"isa": edges.ISA.name, "fma": edges.ISA.fma}
    if len(sys.argv) == 1:
        found |= {"digest": digest(), "cases": results(), "ways": sorted(ways())}
    return found | {
        "layouts": layouts_agree(),
        "batches": batches_agree(),
        "right": products_are_right(),
    }


if __name__ == "__main__":
    print(json.dumps(report()))

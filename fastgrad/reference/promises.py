"""The promises of docs/contract.md, each as a check of ``by``: whatever has fastgrad's functions.

A check returns a note and raises AssertionError, naming the case, where a promise does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen import target
from . import cases

Array = NDArray[Any]
Check = tuple[str, Callable[[], str]]

TITLES = {
    "formula": "every path equals the scalar formula",
    "threads": "promise 1  any number of threads, and any run",
    "layouts": "promise 2  any layout, out= or not",
    "batches": "promise 3  a row depends on itself alone",
    "fused": "promise 5  fused equals unfused",
    "micro-batches": "promise 6  micro-batches equal the full batch",
}


def checks(by: Any) -> Iterator[Check]:
    for dtype in cases.DTYPES:
        for name, check in CHECKS.items():
            yield f"{TITLES[name]}, {dtype}", partial(check, by, dtype)


def check_formula(by: Any, dtype: str) -> str:
    compared = 0
    for case in cases.cases(dtype):
        found = case.results(by)
        for key, at, expected in case.expected(found):
            same(found[key][at], expected, f"{case}: {key}")
            compared += expected.size
    return f"{compared} elements"


def check_threads(by: Any, dtype: str) -> str:
    counts = sorted({1, 2, by.get_num_threads()})
    for case in cases.cases(dtype):
        first: dict[str, Array] | None = None
        for count in (*counts, counts[-1]):
            with by.num_threads(count):
                found = case.results(by)
            first = first or found
            for key, values in found.items():
                same(values, first[key], f"{case}: {key}, with {count} threads")
    return f"{', '.join(map(str, counts))} threads"


def check_layouts(by: Any, dtype: str) -> str:
    tried = 0
    for case in cases.products(dtype):
        a, b, old = case.operands
        written = case.results(by)["written"]
        for left, right, target_ in (
            ("F", "C", "C"), ("C", "F", "C"), ("F", "F", "F"), ("strided", "reversed", "strided"),
            ("unaligned", "unaligned", "unaligned"), ("reversed", "strided", "reversed"),
        ):  # fmt: skip
            out = LAYOUTS[target_](np.full_like(old, np.nan))
            by.matmul(LAYOUTS[left](a), LAYOUTS[right](b), out)
            same(out, written, f"{case}, {left} by {right} into {target_}")
            tried += 1
        same(by.matmul_nt(a, np.ascontiguousarray(b.T)), written, f"{case}, matmul_nt")
        same(by.matmul_tn(np.ascontiguousarray(a.T), b), written, f"{case}, matmul_tn")
        tried += 2
    for layer in cases.layers(dtype)[-6:]:
        found = layer.results(by)
        x, w, bias, g = layer.operands
        for make in LAYOUTS.values():
            y = by.linear_forward(make(x), make(w), bias, layer.activation)
            same(y, found["Y"], str(layer))
            grads: Any = by.linear_backward(
                make(g), make(x), make(w), layer.activation,
                output=make(found["Y"]), preactivation=make(found["Z"]),
            )  # fmt: skip
            for key, values in zip(("dX", "dW", "db"), grads, strict=True):
                same(values, found[key], f"{layer}: {key}")
            tried += 1
    return f"{tried} calls"


def check_batches(by: Any, dtype: str) -> str:
    sizes = (1, 2, 7, 16, 33, 64, 500)
    k, m, n = target.KC[dtype] + 9, 70, 1500
    x, w = cases.numbers(dtype, "batch x", n, k), cases.numbers(dtype, "batch w", k, m)
    g, bias = cases.numbers(dtype, "batch g", n, m), cases.numbers(dtype, "batch b", m)
    for weight in (w, np.asfortranarray(w)):
        z = np.empty_like(g)
        y = by.linear_forward(x, weight, bias, "silu", preactivation_out=z)
        whole: Any = by.linear_backward(g, x, weight, "silu", preactivation=z)
        for size in sizes:
            for start in (0, 41, n - size):
                rows = slice(start, start + size)
                part = by.linear_forward(x[rows], weight, bias, "silu")
                same(part, y[rows], f"forward of {size} rows from {start}")
                grads: Any = by.linear_backward(
                    g[rows], x[rows], weight, "silu",
                    preactivation=z[rows], needs=(True, False, False),
                )  # fmt: skip
                same(grads.x, whole.x[rows], f"dX of {size} rows from {start}")
    return f"batches of {', '.join(map(str, sizes))} and {n}"


def check_fused(by: Any, dtype: str) -> str:
    for layer in cases.layers(dtype):
        found = layer.results(by)
        x, w, bias, g = layer.operands
        same(by.linear_forward(x, w, bias), found["Z"], f"{layer}: Z alone")
        for i, key in enumerate(("dX", "dW", "db")):
            alone = layer.backward(by, found, needs=(i == 0, i == 1, i == 2))[i]
            assert alone is not None
            same(alone, found[key], f"{layer}: {key} alone")
        if layer.activation in (None, "relu"):
            h = g if layer.activation is None else np.where(found["Y"] <= 0, g.dtype.type(0), g)
            same(by.matmul_nt(h, w), found["dX"], f"{layer}: dX by matmul_nt")
            same(by.matmul_tn(x, h), found["dW"], f"{layer}: dW by matmul_tn")
    return f"{len(cases.layers(dtype))} layers"


def check_micro_batches(by: Any, dtype: str) -> str:
    kc = target.KC[dtype]
    sizes = (kc, 2 * kc, kc, 11)
    for layer in (cases.Layer(dtype, sum(sizes), 19, 35, name) for name in cases.NAMES):
        found = layer.results(by)
        x, w, _, g = layer.operands
        out = np.full_like(found["dW"], np.nan), np.full_like(found["db"], np.nan)
        start = 0
        for size in sizes:
            rows = slice(start, start + size)
            by.linear_backward(g[rows], x[rows], w, layer.activation, output=found["Y"][rows],
                            preactivation=found["Z"][rows], needs=(False, True, True),
                            out=(None, *out), accumulate=start > 0)  # fmt: skip
            start += size
        for key, values in zip(("dW", "db"), out, strict=True):
            same(values, found[key], f"{layer}: {key} in micro-batches")
    return f"{' + '.join(map(str, sizes))} rows"


CHECKS = {
    "formula": check_formula,
    "threads": check_threads,
    "layouts": check_layouts,
    "batches": check_batches,
    "fused": check_fused,
    "micro-batches": check_micro_batches,
}


def _spread(a: Array) -> Array:
    wide = np.full((2 * a.shape[0], 3 * a.shape[1]), np.nan, a.dtype)
    wide[::2, ::3] = a
    return wide[::2, ::3]


def _unaligned(a: Array) -> Array:
    memory = np.zeros(a.nbytes + 1, np.uint8)
    moved: Array = np.ndarray(a.shape, a.dtype, memory, 1)
    moved[...] = a
    return moved


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": _spread,
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "unaligned": _unaligned,
}


def same(a: Array, b: Array, what: str) -> None:
    """Equal shape, dtype and bits, all NaNs taken as one value; else AssertionError with what."""
    if a.shape != b.shape or a.dtype != b.dtype:
        raise AssertionError(f"{what}: {a.shape} {a.dtype}, not {b.shape} {b.dtype}")
    differ = np.argwhere(cases.bits(a) != cases.bits(b))
    if len(differ):
        at = tuple(int(i) for i in differ[0])
        values = f"{float(a[at]).hex()} and {float(b[at]).hex()}"
        raise AssertionError(f"{what}: {len(differ)} elements differ, the first at {at}: {values}")

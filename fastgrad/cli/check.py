"""``fastgrad check``: gradients and bits on this machine, as a table of PASS and FAIL.

With ``--bits`` the contract of bits, in small but on every path, and a digest to compare.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastgrad
from fastgrad import reference, testing

from .._config import config
from .._kernels.codegen import target
from .._mlp.config import ACTIVATIONS
from .._ops.linear import ActivationName
from ..reference import cases, oracle, promises

HELP = "check gradients, and products bit for bit against the contract, on this machine"
Array = NDArray[Any]
Check = tuple[str, Callable[[], str]]
WITHOUT_FMA = (
    "this CPU has no fused multiply-add: a step of a chain is rounded twice, not once, so the "
    "digest differs\nfrom that of CPUs which have it, and is to be compared with others without it"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bits",
        action="store_true",
        help="every promise of the contract of bits instead, and a digest that is the same "
        "on every CPU with fused multiply-add (the first time, compiling takes a minute)",
    )


def run(args: argparse.Namespace) -> int:
    print(f"checking on {target.describe()}", flush=True)
    failed = table(promises.checks(fastgrad) if args.bits else (*gradient_checks(), *bit_checks()))
    print(f"{failed} failed" if failed else "all passed", flush=True)
    for line in describe() if args.bits else ():
        print(line)
    return 1 if failed else 0


def describe() -> Iterator[str]:
    """The last lines of --bits: what computed, and ``bits <BITS_VERSION>: <digest>``."""
    now, versions = target.current(), config()
    yield (
        f"fastgrad {fastgrad.__version__}, numba {versions['numba']}, numpy {versions['numpy']}; "
        f"{now.cpu}, {now.isa.name}"
    )
    if not oracle.has_fma():
        yield WITHOUT_FMA
    yield f"bits {target.BITS_VERSION}: {digest()}"


def digest() -> str:
    """Of the fixed cases, with the number of threads in force."""
    return cases.digest(cases.results(fastgrad))


def table(checks: Iterable[Check]) -> int:
    """Run and print them; how many failed."""
    failed = 0
    for name, check in checks:
        try:
            verdict, note = "PASS", check()
        except Exception as error:  # a table of verdicts must go on to its end
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.name}:{last.lineno}"
            verdict, note = "FAIL", f"{type(error).__name__} in {where}: {error}"
            failed += 1
        print(f"{verdict}  {name:<54} {note}", flush=True)
    return failed


def gradient_checks() -> Iterator[Check]:
    for dtype in ("float32", "float64"):
        for activation in ACTIVATIONS:
            title = f"gradients  linear, {activation or 'no activation'}, {dtype}"
            yield title, partial(check_linear, activation, dtype)
        for loss in REFERENCE_LOSSES:
            yield f"gradients  {loss}, {dtype}", partial(check_loss, loss, dtype)


def check_linear(activation: ActivationName | None, dtype: str) -> str:
    rng = np.random.default_rng(1)
    x, w, b = (rng.uniform(-1, 1, shape).astype(dtype) for shape in ((5, 7), (7, 19), (19,)))

    def vjp(g: Array, x: Array, w: Array, b: Array) -> Any:
        z = np.empty((5, 19), x.dtype)
        y = fastgrad.linear_forward(x, w, b, activation, preactivation_out=z)
        g = np.asarray(g, x.dtype)
        return fastgrad.linear_backward(g, x, w, activation, output=y, preactivation=z)

    error = testing.check_grads(
        lambda x, w, b: fastgrad.linear_forward(x, w, b, activation),
        vjp,
        x,
        w,
        b,
        reference=lambda x, w, b: reference.linear_forward(x, w, b, activation),
    )
    return f"error {error:.1e}"


def _softmax_reference(z: Array) -> Any:
    top = z.real.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(z - top).sum(axis=1)) + top[:, 0] - z[np.arange(4), [2, 0, 1, 2]])


# name -> (second argument, the same loss by its textbook formula, for complex z too)
REFERENCE_LOSSES: dict[str, tuple[Array, Callable[[Array], Any]]] = {
    "softmax_cross_entropy": (np.array([2, 0, 1, 2]), _softmax_reference),
    "binary_cross_entropy_with_logits": (
        np.tri(4, 3) / 2,
        lambda z: np.mean(np.log(1 + np.exp(z)) - z * np.tri(4, 3) / 2),
    ),
    "mse": (np.tri(4, 3), lambda z: np.mean((z - np.tri(4, 3)) ** 2)),
}


def check_loss(name: str, dtype: str) -> str:
    targets, formula = REFERENCE_LOSSES[name]
    loss = getattr(fastgrad, name)
    z = np.random.default_rng(2).uniform(-3, 3, (4, 3)).astype(dtype)
    error = testing.check_grads(
        lambda z: np.asarray(loss(z, targets)[0], z.dtype),
        lambda g, z: (g * loss(z, targets)[1],),
        z,
        reference=formula,
    )
    return f"error {error:.1e}"


def bit_checks() -> Iterator[Check]:
    for dtype in ("float32", "float64"):
        for name in ("matmul", "matmul_nt", "matmul_tn"):
            yield f"bits       {name}, {dtype}", partial(check_bits, name, dtype)


def check_bits(name: str, dtype: str) -> str:
    """The function against the scalar formula over shapes around tiles and KC, in five layouts."""
    product = getattr(fastgrad, name)
    rng, kc, tried = np.random.default_rng(3), fastgrad.KC[dtype], 0
    for m, k, n in (
        (1, 1, 1),
        (3, 0, 5),
        (13, 37, 33),
        (7, kc + 1, 9),
        (1, kc, 40),
        (40, 2 * kc, 1),
    ):
        a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n)))
        expected = oracle.product(a, b, np.zeros((m, n), dtype))[0]
        first = a.T if name == "matmul_tn" else a
        second = b.T if name == "matmul_nt" else b
        for layout, make in promises.LAYOUTS.items():
            found = product(make(first), make(second))
            promises.same(found, expected, f"{(m, k, n)} in layout {layout}")
            tried += 1
    return f"{tried} products"

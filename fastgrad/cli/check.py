"""``fastgrad check``: gradients and bits on this machine, as a table of PASS and FAIL.

With ``--bits`` the contract of bits, in small but on every path, and a digest to compare.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .._ops.linear import ActivationName

HELP = "check gradients, and products bit for bit against the contract, on this machine"
Array = NDArray[Any]
Check = tuple[str, Callable[[], str]]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bits",
        action="store_true",
        help="every promise of the contract of bits instead, and a digest that is the same "
        "on every CPU with fused multiply-add (the first time, compiling takes a minute)",
    )


def run(args: argparse.Namespace) -> int:
    from .._kernels.codegen import target
    from . import _bits

    print(f"checking on {target.describe()}", flush=True)
    failed = table(_bits.checks() if args.bits else (*gradient_checks(), *bit_checks()))
    print(f"{failed} failed" if failed else "all passed", flush=True)
    for line in _bits.describe() if args.bits else ():
        print(line)
    return 1 if failed else 0


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
    from .._mlp import ACTIVATIONS

    for dtype in ("float32", "float64"):
        for activation in ACTIVATIONS:
            title = f"gradients  linear, {activation or 'no activation'}, {dtype}"
            yield title, partial(check_linear, activation, dtype)
        for loss in REFERENCE_LOSSES:
            yield f"gradients  {loss}, {dtype}", partial(check_loss, loss, dtype)


def check_linear(activation: ActivationName | None, dtype: str) -> str:
    import fastgrad
    from fastgrad import reference, testing

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
    import fastgrad
    from fastgrad import testing

    target, reference = REFERENCE_LOSSES[name]
    loss = getattr(fastgrad, name)
    z = np.random.default_rng(2).uniform(-3, 3, (4, 3)).astype(dtype)
    error = testing.check_grads(
        lambda z: np.asarray(loss(z, target)[0], z.dtype),
        lambda g, z: (g * loss(z, target)[1],),
        z,
        reference=reference,
    )
    return f"error {error:.1e}"


def bit_checks() -> Iterator[Check]:
    for dtype in ("float32", "float64"):
        for name in ("matmul", "matmul_nt", "matmul_tn"):
            yield f"bits       {name}, {dtype}", partial(check_bits, name, dtype)


def check_bits(name: str, dtype: str) -> str:
    """The function against the scalar formula over shapes around tiles and KC, in five layouts."""
    import fastgrad

    from . import _bits, _bits_formula

    product = getattr(fastgrad, name)
    rng, kc, cases = np.random.default_rng(3), fastgrad.KC[dtype], 0
    for m, k, n in (
        (1, 1, 1),
        (3, 0, 5),
        (13, 37, 33),
        (7, kc + 1, 9),
        (1, kc, 40),
        (40, 2 * kc, 1),
    ):
        a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n)))
        expected = _bits_formula.product(a, b, np.zeros((m, n), dtype))[0]
        first = a.T if name == "matmul_tn" else a
        second = b.T if name == "matmul_nt" else b
        for layout, make in _bits.LAYOUTS.items():
            found = product(make(first), make(second))
            _bits.same(found, expected, f"{(m, k, n)} in layout {layout}")
            cases += 1
    return f"{cases} products"

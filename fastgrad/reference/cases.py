"""The fixed cases of ``fastgrad check --bits``: their results, their digest, the formula's results.

``by`` is what computes the results: the package, or whatever has its functions by their names.
Neither sizes nor values depend on the machine, the versions of what is installed or the number of
threads. README.md quotes the digest, so a case is changed only with BITS_VERSION.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen import target
from .._kernels.formulas import activations
from . import losses as _losses
from . import oracle as formula

Array = NDArray[Any]
DTYPES = ("float32", "float64")
NAMES: tuple[Any, ...] = (None, *activations.BY_NAME)
Expected = Iterator[tuple[str, Any, Array]]  # key of results(), index into that, what is there


def numbers(dtype: str, name: str, *shape: int) -> Array:
    """Of either sign, below 8, of mixed size, so that every rounding shows; a few zeros.

    From raw draws, by exact steps: numpy's own distributions may change with its version.
    """
    raw = np.random.PCG64([zlib.crc32(name.encode())]).random_raw(math.prod(shape))
    values = np.ldexp((raw >> np.uint64(11)) * 2.0**-52 - 1, (raw & np.uint64(7)).astype(int) - 4)
    rare = (raw >> np.uint64(3)) & np.uint64(63)
    values[rare == 0] = 0.0
    values[rare == 1] = -0.0
    return values.astype(dtype).reshape(shape)


def _operands(dtype: str, name: str, letters: str, shapes: Any) -> list[Array]:
    return [numbers(dtype, f"{name} {x}", *s) for x, s in zip(letters, shapes, strict=True)]


def patterns(dtype: str) -> Array:
    """(4099,): floats of every exponent and both signs, the infinities and NaNs."""
    width = 8 * np.dtype(dtype).itemsize
    spread = [i * (2**width // 4096) for i in range(4096)]
    special = np.array([np.inf, -np.inf, np.nan], dtype)
    return np.concatenate([np.array(spread, f"u{width // 8}").view(dtype), special])


def some(count: int) -> Array:
    """All indices below ``count``, or about fifty of them, both ends among them."""
    if count <= 50:
        return np.arange(count)
    return np.union1d(np.arange(0, count, count // 36), np.arange(count - 9, count))


@dataclass(frozen=True)
class Product:
    """A (m, k) · B (k, n), written and added to an old C."""

    dtype: str
    m: int
    k: int
    n: int

    def __str__(self) -> str:
        return f"product ({self.m}, {self.k}) by ({self.k}, {self.n})"

    @cached_property
    def operands(self) -> tuple[Array, Array, Array]:
        shapes = (self.m, self.k), (self.k, self.n), (self.m, self.n)
        a, b, old = _operands(self.dtype, str(self), "abc", shapes)
        return a, b, old

    def results(self, by: Any) -> dict[str, Array]:
        a, b, old = self.operands
        return {"written": by.matmul(a, b), "accumulated": by.matmul(a, b, old.copy(), True)}

    def expected(self, found: dict[str, Array]) -> Expected:
        a, b, old = self.operands
        rows, columns = some(self.m), some(self.n)
        at = np.ix_(rows, columns)
        both = formula.product(a[rows], b[:, columns], old[at])
        for key, values in zip(("written", "accumulated"), both, strict=True):
            yield key, at, values


@dataclass(frozen=True)
class Layer:
    """x (n, k), weight (k, m), bias (m,): forward and backward with an activation."""

    dtype: str
    n: int
    k: int
    m: int
    activation: Any

    def __str__(self) -> str:
        return f"layer {self.k}-{self.m}, batch {self.n}, {self.activation}"

    @cached_property
    def operands(self) -> tuple[Array, Array, Array, Array]:
        """x, weight, bias, G"""
        shapes = (self.n, self.k), (self.k, self.m), (self.m,), (self.n, self.m)
        x, w, bias, g = _operands(self.dtype, str(self), "xwbg", shapes)
        return x / np.array(16, self.dtype), w, bias, g

    def backward(self, by: Any, found: dict[str, Array], **options: Any) -> Any:
        x, w, _, g = self.operands
        return by.linear_backward(
            g, x, w, self.activation, output=found["Y"], preactivation=found["Z"], **options
        )

    def results(self, by: Any) -> dict[str, Array]:
        x, w, bias, g = self.operands
        z = np.empty_like(g)
        found = {"Y": by.linear_forward(x, w, bias, self.activation, preactivation_out=z), "Z": z}
        grads = self.backward(by, found)
        return found | {"dX": grads.x, "dW": grads.weight, "db": grads.bias}

    def expected(self, found: dict[str, Array]) -> Expected:
        x, w, bias, _ = self.operands
        rows, inputs, columns = some(self.n), some(self.k), some(self.m)
        every_row, every_column = np.arange(self.n), np.arange(self.m)
        at = np.ix_(rows, columns)
        with np.errstate(all="ignore"):
            z = formula.product(x[rows], w[:, columns], found["Z"][at])[0] + bias[columns]
        yield "Z", at, z
        yield "Y", at, formula.value(self.activation, z)
        h = self._h(found, rows, every_column)
        at = np.ix_(rows, inputs)
        yield "dX", at, formula.product(h, w[inputs].T, found["dX"][at])[0]
        h = self._h(found, every_row, columns)
        ones_and_x = np.vstack([np.ones((1, self.n), self.dtype), x[:, inputs].T])
        sums = formula.product(ones_and_x, h, np.zeros((len(inputs) + 1, len(columns)), h.dtype))[0]
        yield "db", columns, sums[0]
        yield "dW", np.ix_(inputs, columns), sums[1:]

    def _h(self, found: dict[str, Array], rows: Array, columns: Array) -> Array:
        name, at = self.activation, np.ix_(rows, columns)
        is_output = name is not None and activations.BY_NAME[name].saved == "output"
        return formula.backward(name, self.operands[3][at], found["Y" if is_output else "Z"][at])


@dataclass(frozen=True)
class Sweep:
    """An activation and its derivative (G = 1) at 4099 patterns of the whole range."""

    dtype: str
    activation: Any

    def __str__(self) -> str:
        return f"{self.activation} over the whole range"

    def results(self, by: Any) -> dict[str, Array]:
        z, one = patterns(self.dtype)[:, None], np.ones((1, 1), self.dtype)
        y = by.linear_forward(z, one, None, self.activation)
        grads = by.linear_backward(
            np.ones_like(z), z, one, self.activation, output=y, preactivation=z
        )
        return {"Y": y, "dX": grads.x}

    def expected(self, found: dict[str, Array]) -> Expected:
        z = patterns(self.dtype)[:, None]
        y = formula.value(self.activation, np.where(z == 0, np.array(0, self.dtype), z))
        yield "Y", ..., y
        is_output = activations.BY_NAME[self.activation].saved == "output"
        ones = np.ones((1, 1), self.dtype)
        h = formula.backward(self.activation, np.ones_like(z), y if is_output else z)
        yield "dX", ..., formula.product(h, ones, np.zeros_like(h))[0]


@dataclass(frozen=True)
class Losses:
    """Losses and their gradients, optimizer steps, a norm."""

    dtype: str

    def __str__(self) -> str:
        return "losses and steps"

    @cached_property
    def operands(self) -> tuple[Array, Array, Array]:
        """logits (KC + 7, 10), labels, probabilities or targets"""
        rows = target.KC[self.dtype] + 7
        targets = np.abs(numbers(self.dtype, "targets", rows, 10)) / np.array(8, self.dtype)
        return numbers(self.dtype, "logits", rows, 10), np.arange(rows) * 7 % 10, targets

    def results(self, by: Any) -> dict[str, Array]:
        return self._by(by, lambda *grads: by.clip_grad_norm(grads, np.inf))

    def expected(self, found: dict[str, Array]) -> Expected:
        if formula.has_fma():
            expected = self._by(_losses, _losses.norm)
            yield from ((key, ..., a) for key, a in expected.items())

    def _by(self, by: Any, norm: Any) -> dict[str, Array]:
        z, labels, targets = self.operands
        weights = np.abs(numbers("float64", "weights", len(z)))
        options = {"weights": weights, "denominator": 100.0}
        found: dict[str, Array] = {}
        for name, (number, found[f"{name}, gradient"]) in (
            ("softmax", by.softmax_cross_entropy(z, labels)),
            ("smoothed", by.softmax_cross_entropy(z, labels, 0.1)),
            ("binary", by.binary_cross_entropy_with_logits(z, targets)),
            ("mse", by.mse(z, targets)),
            ("weighted", by.softmax_cross_entropy(z, labels, 0.1, weights=weights, ignore_index=3)),
            ("positive", by.binary_cross_entropy_with_logits(z, targets, pos_weight=3, **options)),
            ("weighted mse", by.mse(z, targets, **options)),
        ):
            found[name] = np.array(number, self.dtype)
        # state and gradients around the smallest normal number, in some columns
        tiny = float(np.finfo(self.dtype).tiny)
        small = np.where(np.arange(10) < 3, targets * np.array(2 * tiny, self.dtype), targets)
        small[:, 3] = np.array(math.sqrt(2e3 * tiny), self.dtype) * targets[:, 3]
        sgd, velocity = z.copy(), small.copy()
        for step in (1, 2, 3):
            by.sgd_step(
                sgd, small, 0.1, velocity, 0.9, nesterov=True, weight_decay=0.01 * (step > 2)
            )
        found |= {"sgd": sgd, "velocity": velocity}
        for name, decoupled in (("adam", False), ("adamw", True)):
            p, m, v = z.copy(), small.copy(), small.copy()
            for step in (1, 2, 3):
                decay = 0.01 * (step > 2)
                by.adam_step(p, small, m, v, step, 0.003, weight_decay=decay, decoupled=decoupled)
            found |= {name: p, f"{name}, m": m, f"{name}, v": v}
        found["norm"] = np.array(norm(z, numbers(self.dtype, "norm", 1700, 10)), np.float64)
        return found


@dataclass(frozen=True)
class Training:
    """Models after a few steps; the parts of a step are compared with the formula elsewhere."""

    dtype: str

    def __str__(self) -> str:
        return "training"

    def results(self, by: Any) -> dict[str, Array]:
        x, labels, found = numbers(self.dtype, "samples", 64, 20), np.arange(64) * 7 % 10, {}
        for activation, optimizer in (
            ("relu", by.Adam(0.01)),
            ("gelu", by.SGD(0.1, 0.9)),
        ):
            model = by.MLP((20, 33, 10), activation, optimizer=optimizer, dtype=self.dtype)
            losses = [model.train_step(x[i::2], labels[i::2]) for i in (0, 1)]
            found[f"{activation}, losses"] = np.array(losses, self.dtype)
            parameters = [p.ravel() for p in (*model.weights, *model.biases)]
            found[f"{activation}, parameters"] = np.concatenate(parameters)
        return found

    def expected(self, found: dict[str, Array]) -> Expected:
        return iter(())


Case = Product | Layer | Sweep | Losses | Training


@cache
def products(dtype: str) -> tuple[Product, ...]:
    """Shapes (m, k, n) for every path of _kernels/gemm/dispatch.py, with one thread and several."""
    kc = target.KC[dtype]
    shapes = (
        (1, 1, 1), (3, 0, 5), (13, 1, 65), (7, kc + 1, 33), (23, 90, 70),  # direct
        (1, kc + 9, 300), (3, 2 * kc + 7, 200), (16, kc + 3, 150), (32, kc + 1, 600),  # few rows
        (300, kc + 9, 1), (300, kc + 5, 3), (200, kc + 5, 12),  # few columns
        (1, 18 * kc + 7, 1), (20, 9 * kc + 3, 17),  # dot, tall
        (65, kc + 40, 131), (300, 3, 400), (366, 3 * kc + 5, 1100), (45, 4 * kc + 1, 1600),
    )  # fmt: skip
    return tuple(Product(dtype, *shape) for shape in shapes)


@cache
def layers(dtype: str) -> tuple[Layer, ...]:
    """(batch, inputs, outputs, activation)"""
    kc = target.KC[dtype]
    small = [(n, k, m, a) for n, k, m in ((1, 40, 50), (kc + 5, 19, 35)) for a in NAMES]
    more = (
        (5, 300, 400, "gelu"), (65, 70, 131, "relu"), (70, 60, 2 * kc + 17, "silu"),
        (2 * kc + 3, 20, kc + 17, "tanh"), (170, 160, 156, "relu"), (9 * kc + 3, 22, 24, None),
        (300, 2000, 9, None),
    )  # fmt: skip
    return tuple(Layer(dtype, *case) for case in (*small, *more))


def cases(dtype: str) -> tuple[Case, ...]:
    sweeps = (Sweep(dtype, name) for name in activations.BY_NAME)
    return (*products(dtype), *layers(dtype), *sweeps, Losses(dtype), Training(dtype))


def results(by: Any) -> dict[str, Array]:
    """Every array of every case, by name."""
    return {
        f"{dtype} {case}: {key}": values
        for dtype in DTYPES
        for case in cases(dtype)
        for key, values in case.results(by).items()
    }


def bits(a: Array) -> Array:
    """The patterns as integers, one pattern for every NaN."""
    plain = np.where(np.isnan(a), np.array(np.nan, a.dtype), a)
    return plain.view(f"u{a.itemsize}")


def digest(found: dict[str, Array]) -> str:
    """16 hex digits of the SHA-256 of names, shapes and bits, little-endian, NaNs as one value."""
    total = hashlib.sha256(f"BITS_VERSION {target.BITS_VERSION}".encode())
    for name, values in found.items():
        total.update(f"{name} {values.shape}".encode())
        total.update(bits(values).astype(f"<u{values.itemsize}").tobytes())
    return total.hexdigest()[:16]

"""A model's builtins and its checked path: the same bits, and the same errors, for any arguments.

A builtin takes arrays of every dtype of numbers, looks at them by itself, and converts them; what
it leaves goes to the checked path. Two models get the same calls, one of them without builtins.
"""

from __future__ import annotations

import fractions
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgrad import MLP, SGD, num_threads
from fastgrad._kernels.bind import builtins, step_builtin
from fastgrad._kernels.layer.conversion import KINDS
from support.oracles import assert_same_bits
from support.small import Odd

Array = np.ndarray[Any, Any]
EXAMPLES = 6 * settings.default.max_examples
LOSSES = ("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse")
BUILTINS = (
    "quick", "quick_grads", "quick_update", "quick_forward", "quick_backward", "infer_floats",
    "infer_numbers",
)  # fmt: skip
INPUTS, ROWS = 5, (1, 2, 7, 19)
OTHERS = ("f2", ">f4", ">f8", ">i4", ">u8", "g", "c8", "O")
SEEN: Counter[str] = Counter()


class Call(NamedTuple):
    name: str
    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    is_plain: bool  # arrays of a dtype that builtins take, no matter what is in them

    def of(self, model: MLP) -> Any:
        if self.name != "backward":
            return getattr(model, self.name)(*self.positional, **self.keywords)
        x, *rest = *self.positional, *self.keywords.values()
        return model.forward(x, keep=True), model.backward(*rest)


class Draw:
    def __init__(self, draw: Any, model: MLP) -> None:
        self.draw, self.model, self.is_plain = draw, model, True
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def chance(self, one_in: int) -> bool:
        return bool(self.draw(st.integers(1, one_in)) == one_in)

    def of(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def dtype(self, *likely: str) -> str:
        if self.chance(3):
            return str(self.of(*KINDS))
        if self.chance(25):
            self.is_plain = False
            return str(self.of(*OTHERS))
        return str(self.of(*likely))

    def array(self, values: Array, dtype: str) -> Any:
        """In some layout, seldom of another shape or kind."""
        with np.errstate(all="ignore"):
            a = values.astype(dtype)
        if self.chance(20):
            twice = np.concatenate([a, a])
            a = self.of(a[:-1], a[None], a[..., None], a[:0], twice, twice.T, a[:1])
            self.is_plain = False
        layout, n = self.of(*"CCCCF-2u0r"), a.ndim
        if layout == "F":
            a = np.asfortranarray(a)
        elif layout == "-":
            a = a[(slice(None, None, -1),) * n].copy()[(slice(None, None, -1),) * n]
        elif layout == "2":
            wide = np.zeros([2 * length for length in a.shape], a.dtype)
            wide[(slice(None, None, 2),) * n] = a
            a = wide[(slice(None, None, 2),) * n]
        elif layout == "u" and dtype != "O":
            unaligned = np.empty(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
            unaligned[...] = a
            a = unaligned
        elif layout == "0" and len(a):
            a = np.broadcast_to(a[:1], a.shape)
        elif layout == "r":
            a.flags.writeable = False
        if self.chance(30):
            self.is_plain = False
            return self.of(a.tolist(), a.view(Odd), np.ma.array(a), None, 1.5)
        return a

    def numbers(self, shape: tuple[int, ...]) -> Array:
        a = 3 * self.rng.standard_normal(shape)
        if self.chance(8):
            odd = self.of(np.nan, np.inf, -np.inf, 1e39, 1e300, -1e-300, 2.0**63, 2.0**53 + 2)
            a.flat[self.rng.integers(0, a.size)] = odd
        return a

    def x(self, rows: int) -> Any:
        return self.array(self.numbers((rows, INPUTS)), self.dtype("float32", "float64"))

    def y(self, rows: int) -> Any:
        loss, m = self.model.loss, self.model.sizes[-1]
        shape = (rows,) if m == 1 and self.chance(2) else (rows, m)
        if loss == "mse":
            return self.array(self.numbers(shape), self.dtype("float32", "float64", "int64"))
        if loss != LOSSES[0]:
            shares = self.rng.integers(0, 2, shape) * self.of(1.0, 1.0, 0.25)
            if self.chance(8):
                odd = self.of(-1.0, 1 + 1e-9, 1 + 2.0**-52, -1e-300, np.nan, 2.0, 255.0)
                shares.flat[self.rng.integers(0, shares.size)] = odd
            return self.array(shares, self.dtype("float32", "float64", "int64"))
        if self.chance(2):
            labels = self.rng.integers(0, m, rows).astype(float)
            if self.chance(8):
                labels[self.rng.integers(0, rows)] = self.of(-1, m, -300, 255, 2.0**62, 2.0**63)
            return self.array(labels, self.dtype("int64", "int32", "uint8"))
        return self.array(self.shares(rows, m), self.dtype("float32", "float64"))

    def shares(self, rows: int, m: int) -> Array:
        shares = self.rng.dirichlet(np.ones(m), rows) if m > 1 else np.ones((rows, 1))
        if self.chance(3):
            shares = np.eye(m)[self.rng.integers(0, m, rows)]
        if self.chance(6):  # the edges of what is right
            i, by = self.rng.integers(0, rows), self.of(1e-3, 0.99999e-3, 1.00001e-3, 0.998e-3, 0.5)
            shares[i] *= 1 + self.of(1, -1) * by
        return shares

    def weights(self, rows: int) -> Any:
        if self.chance(2):
            return None
        weights = self.rng.integers(0, 4, rows) / self.of(1, 1, 3)
        if self.chance(6):
            odd = self.of(-1.0, -0.0, np.nan, np.inf, 1e308, 5e-324, 1e39)
            weights[self.rng.integers(0, rows)] = odd
        elif self.chance(8):
            weights[:] = self.of(0.0, 1e308)
        return self.array(weights, self.dtype("float64", "float32", "int64"))

    def denominator(self) -> Any:
        if self.chance(2):
            return None
        if not self.chance(4):
            return self.of(2.5, 7, np.float64(3), np.float32(0.5), np.int64(4), 1e300)
        odd = (0, 0.0, -1.0, -3, float("nan"), float("inf"), 10**400, -(10**400), True, "3",
               np.array(2.0), np.ones(1), fractions.Fraction(1, 2), np.float64(-1), 1j)  # fmt: skip
        return self.of(*odd)

    def call(self) -> Call:
        rows, self.is_plain = self.of(*ROWS), True
        name = self.of(
            "train_step", "train_step", "train_step", "loss_and_grads", "loss_and_grads",
            "forward", "predict", "predict_proba", "backward", "update",
        )  # fmt: skip
        arguments: dict[str, Any] = {}
        if name != "update":
            arguments["x"] = self.x(rows)
        if name in ("train_step", "loss_and_grads"):
            arguments |= {"y": self.y(rows), "weights": self.weights(rows)}
        flag = self.of(True, False, True, False, np.True_, 1)
        if name == "loss_and_grads":
            arguments |= {"denominator": self.denominator(), "accumulate": flag}
        if name == "backward":
            grad = self.numbers((rows, self.model.sizes[-1]))
            arguments["grad_logits"] = self.array(grad, self.dtype("float32", "float64"))
            arguments |= {"input_grad": self.of(True, False), "accumulate": flag}
            self.is_plain &= np.asarray(arguments["grad_logits"]).dtype.kind == "f"
        first = self.of(*range(len(arguments) + 1))
        names = list(arguments)
        keywords = {n: arguments[n] for n in names[first:]}
        return Call(name, tuple(arguments[n] for n in names[:first]), keywords, self.is_plain)


class Watched(MLP):
    """Counts calls that the builtins leave."""

    left = 0


def pair(loss: Any, dtype: str, outputs: int) -> tuple[Watched, MLP]:
    """With builtins, and without."""
    settings = {"optimizer": SGD(1e-3, 0.9), "dtype": dtype}
    fast = Watched((INPUTS, 6, outputs), "tanh", loss, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_builtin, "of_table", lambda name, table: builtins.refuse)
        slow = MLP((INPUTS, 6, outputs), "tanh", loss, **settings)
        for name in BUILTINS:
            assert getattr(slow._step, name) is builtins.refuse
    alone = fast._step._alone

    def counted(*args: Any) -> Any:
        fast.left += 1
        return alone(*args)

    fast._step._alone = counted
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (max(ROWS), INPUTS))
    y = np.zeros(max(ROWS), int) if loss == LOSSES[0] else np.zeros((max(ROWS), outputs))
    for model in (fast, slow):
        for _ in range(2):  # there is room, and memory to convert into
            model.train_step(x, y)
    fast.left = 0
    return fast, slow


def outcome(call: Call, model: MLP) -> tuple[Any, str]:
    try:
        return call.of(model), ""
    except (TypeError, ValueError, RuntimeError) as error:
        return None, f"{type(error).__name__}: {error}"


def flat(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def check(fast: Watched, slow: MLP, call: Call) -> None:
    before = fast.left
    one, said = outcome(call, fast)
    other, expected = outcome(call, slow)
    assert said == expected, f"{said!r}, {expected!r}: {call}"
    for mine, its in zip(flat(one), flat(other), strict=True):
        assert type(mine) is type(its)
        if mine is not None:
            assert_same_bits(mine, its, str(call))
    assert fast.steps == slow.steps
    assert_same_bits(fast._parameters.flat, slow._parameters.flat, str(call))
    assert_same_bits(fast._parameters.grads, slow._parameters.grads, str(call))
    kind = "refused" if said else "plain" if call.is_plain else "other"
    SEEN[kind] += 1
    SEEN[f"{kind}, left"] += fast.left > before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_any_arguments(loss: str, dtype: str) -> None:
    @settings(max_examples=EXAMPLES)
    @given(st.data())
    def calls(data: st.DataObject) -> None:
        fast, slow = pair(loss, dtype, data.draw(st.sampled_from((3, 3, 1))))
        draw = Draw(data.draw, slow)
        for _ in range(data.draw(st.integers(1, 6))):
            check(fast, slow, draw.call())

    SEEN.clear()
    with num_threads(1), np.errstate(all="ignore"):
        calls()
    assert SEEN["plain"] > EXAMPLES and SEEN["refused"] > EXAMPLES / 8, SEEN
    assert SEEN["plain, left"] < SEEN["plain"] / 20, SEEN

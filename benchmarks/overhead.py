"""What does a call cost? Operands so small that the call is the cost, from Python and from @njit.

From Python beside numpy's statements for the same. In @njit there is no numpy to put beside it:
its ``np.dot`` there needs scipy. float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

import fastgrad

from ._abba import ratio
from ._base import Timed, need, warm
from ._data import check

Call = Callable[[], object]
LOOP = 1000
NEEDS = ("fastgrad._njit",)


class Operands:
    """A product of 4 x 4; a layer of batch 8, 16 in, 8 out."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.a, self.b, self.x, self.w, self.bias, self.grad = (
            rng.standard_normal(shape).astype(np.float32)
            for shape in ((4, 4), (4, 4), (8, 16), (16, 8), (8,), (8, 8))
        )
        self.c, self.y, self.h, self.dx, self.dw, self.db = (
            np.full_like(like, np.nan)
            for like in (self.a, self.grad, self.grad, self.x, self.w, self.bias)
        )
        self.saved = np.maximum(self.x @ self.w + self.bias, 0)


def _ours(o: Operands) -> dict[str, Call]:
    matmul, forward = fastgrad.matmul, fastgrad.linear_forward
    backward: Any = fastgrad.linear_backward
    return {
        "matmul": lambda: matmul(o.a, o.b, o.c),
        "matmul, new array": lambda: matmul(o.a, o.b),
        "forward": lambda: forward(o.x, o.w, o.bias, "relu", o.y),
        "backward": lambda: backward(o.grad, o.x, o.w, "relu", o.saved, out=(o.dx, o.dw, o.db)),
    }


def _numpy(o: Operands) -> dict[str, Call]:
    def forward() -> None:
        np.matmul(o.x, o.w, out=o.y)
        np.add(o.y, o.bias, out=o.y)
        np.maximum(o.y, 0, out=o.y)

    def backward() -> None:
        np.multiply(o.grad, o.saved > 0, out=o.h)
        np.matmul(o.h, o.w.T, out=o.dx)
        np.matmul(o.x.T, o.h, out=o.dw)
        np.sum(o.h, axis=0, out=o.db)

    return {
        "matmul": lambda: np.matmul(o.a, o.b, out=o.c),
        "matmul, new array": lambda: o.a @ o.b,
        "forward": forward,
        "backward": backward,
    }


NAMES = ["matmul", "matmul, new array", "forward", "backward"]


@cache
def calls(name: str) -> tuple[Call, Call]:
    """Ours and numpy's, their results compared first."""
    ours, theirs = Operands(), Operands()
    pair = _ours(ours)[name], _numpy(theirs)[name]
    for call in pair:
        call()
    for result in ("c", "y", "dx", "dw", "db"):
        check(getattr(ours, result), getattr(theirs, result), 16)
    return pair


@cache
def loop(name: str) -> Call:
    """LOOP calls in one @njit function, which reads a result of the last."""
    need(NEEDS)
    o = Operands()
    matmul, forward, backward = fastgrad.matmul, fastgrad.linear_forward, fastgrad.linear_backward

    def of_matmul(a: Any, b: Any, c: Any) -> Any:
        for _ in range(LOOP):
            matmul(a, b, c)
        return c

    def of_matmul_new(a: Any, b: Any) -> Any:
        c = matmul(a, b)
        for _ in range(LOOP - 1):
            c = matmul(a, b)
        return c

    def of_forward(x: Any, w: Any, bias: Any, y: Any) -> Any:
        for _ in range(LOOP):
            forward(x, w, bias, "relu", y)
        return y

    def of_backward(grad: Any, x: Any, w: Any, saved: Any, out: Any) -> Any:
        for _ in range(LOOP):
            backward(grad, x, w, "relu", saved, out=out)
        return out[1]

    function, arguments, exact = {
        "matmul": (of_matmul, (o.a, o.b, o.c), o.a @ o.b),
        "matmul, new array": (of_matmul_new, (o.a, o.b), o.a @ o.b),
        "forward": (of_forward, (o.x, o.w, o.bias, o.y), o.saved),
        "backward": (
            of_backward,
            (o.grad, o.x, o.w, o.saved, (o.dx, o.dw, o.db)),
            o.x.T @ (o.grad * (o.saved > 0)),
        ),
    }[name]
    compiled = njit(function)
    check(compiled(*arguments), exact, 16)
    return lambda: compiled(*arguments)


for _name in NAMES:
    warm(calls, _name)
    warm(loop, _name)


class Python(Timed):
    version = "1"
    params = [NAMES]
    param_names = ["call"]

    def time_call(self, name: str) -> None:
        calls(name)[0]()

    def time_numpy_call(self, name: str) -> None:
        calls(name)[1]()


class Ratio(Timed):
    version = "1"
    params = [NAMES]
    param_names = ["call"]
    unit = "time / numpy's"

    def track_call_over_numpy(self, name: str) -> float:
        return ratio(*calls(name))


class Njit(Timed):
    """A thousand calls from an @njit function: milliseconds here are microseconds a call."""

    version = "1"
    params = [NAMES]
    param_names = ["call"]
    number = 10
    repeat = 20

    def time_thousand_calls(self, name: str) -> None:
        loop(name)()

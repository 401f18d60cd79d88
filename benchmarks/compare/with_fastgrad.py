"""fastgrad: its public functions, outs given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cells import Cell
from operands import Operands, poisoned

import fastgrad

PRODUCTS = {"nn": fastgrad.matmul, "nt": fastgrad.matmul_nt, "tn": fastgrad.matmul_tn}


def set_threads(n: int) -> None:
    fastgrad.set_num_threads(n)


def bind(cell: Cell, data: Operands) -> tuple[Callable[[], Any], Callable[[], Any]]:
    a, b, bias, grad, output = data
    outs = poisoned(cell)
    if cell.op == "backward":

        def call() -> Any:
            fastgrad.linear_backward(grad, a, b, "relu", output=output, out=outs)

    elif cell.op == "forward":
        (y,) = outs

        def call() -> Any:
            fastgrad.linear_forward(a, b, bias, "relu", out=y)

    else:
        product, (c,) = PRODUCTS[cell.op], outs

        def call() -> Any:
            product(a, b, out=c)

    return call, lambda: outs

"""numpy, as one would write a layer by hand: every array made before, down to a zero of the dtype.

That zero saves half a microsecond a comparison, the kept mask another; np.add.reduce is what the
method sum calls. relu's H as a product with the mask is the quickest of numpy's ways (copyto with
where= takes ten times as long on large arrays).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cells import Cell
from operands import Operands, poisoned
from threadpoolctl import threadpool_limits


def set_threads(n: int) -> None:
    threadpool_limits(n)


def bind(cell: Cell, data: Operands) -> tuple[Callable[[], Any], Callable[[], Any]]:
    a, b, bias, grad, output = data
    outs = poisoned(cell)
    zero = np.zeros((), cell.dtype)
    if cell.op == "backward":
        dx, dw, db = outs
        h, mask = np.empty_like(grad), np.empty(grad.shape, bool)

        def call() -> Any:
            np.multiply(grad, np.greater(output, zero, out=mask), out=h)
            np.matmul(h, b.T, out=dx)
            np.matmul(a.T, h, out=dw)
            np.add.reduce(h, 0, out=db)

    elif cell.op == "forward":
        (y,) = outs

        def call() -> Any:
            np.matmul(a, b, out=y)
            np.add(y, bias, out=y)
            np.maximum(y, zero, out=y)

    else:
        (c,) = outs
        left, right = a.T if cell.op == "tn" else a, b.T if cell.op == "nt" else b

        def call() -> Any:
            np.matmul(left, right, out=c)

    return call, lambda: outs

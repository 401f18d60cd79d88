"""PyTorch without autograd, outs given: what autograd would call, and none of its own work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cells import Cell
from operands import Operands, poisoned

torch.set_grad_enabled(False)


def set_threads(n: int) -> None:
    torch.set_num_threads(n)


def bind(cell: Cell, data: Operands) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The tensors share the memory of numpy's arrays."""
    a, b, bias, grad, output = (None if x is None else torch.from_numpy(x) for x in data)
    arrays = poisoned(cell)
    outs = [torch.from_numpy(x) for x in arrays]
    if cell.op == "backward":
        dx, dw, db = outs
        h, relu_backward = torch.empty_like(grad), torch.ops.aten.threshold_backward

        def call() -> Any:
            relu_backward(grad, output, 0, grad_input=h)
            torch.mm(h, b.T, out=dx)
            torch.mm(a.T, h, out=dw)
            torch.sum(h, 0, out=db)

    elif cell.op == "forward":
        (y,) = outs

        def call() -> Any:
            torch.addmm(bias, a, b, out=y)
            torch.relu_(y)

    else:
        (c,) = outs
        left, right = a.T if cell.op == "tn" else a, b.T if cell.op == "nt" else b

        def call() -> Any:
            torch.mm(left, right, out=c)

    return call, lambda: arrays

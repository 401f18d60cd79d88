"""A forward pass that is kept, and the backward pass of whatever is made of its logits.

In: the table, and x, or dF/dlogits, of any dtype. Out: logits; gradients in the table, and dF/dX.
What is kept stands in the table: x, and what backward reads of the layers.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import call, kernel_at
from ..codegen.integers import pick
from ..codegen.structs import load, view
from ..gemm.args import Matrix, Rows
from ..runtime.registry import Floats, kernel
from ..runtime.table import OK
from .args import Back, Forward, Layer, Net
from .conversion import ANY, CONVERT, Conversion, converted_of
from .net import LAYER_BYTES, NET_BYTES
from .train_step import BY_PRODUCT, backward_of, forward_of


@kernel(Forward)
def net_forward(t: Floats) -> Any:
    """All layers, kept for net_backward: x, which a user may write into, is copied."""
    size, copy, forward, converted = t.size, t[CONVERT[t.dtype]], forward_of(t), converted_of(t)

    def body(p):  # type: ignore[no-untyped-def]
        net, rows = view(p.net, Net), p.rows
        net.kept, net.rows, x = 0, rows, net.kept_x
        x.data, x.row, x.column = p.x.data, p.x.row, p.x.column
        status = converted(p.x_from, rows, net.inputs, x, net.x_copy)
        net.x.data, net.x.row, net.x.column = x.data, x.row, x.column
        if status == OK:
            status = forward(net, BY_PRODUCT)
        if status == OK:
            last = view(p.net + NET_BYTES + (net.layers - 1) * LAYER_BYTES, Layer)
            status = call(copy, Conversion(
                rows=rows, columns=last.m,
                source=Matrix(data=last.y, row=last.row, column=size), to=load(p.logits),
            ))  # fmt: skip
        if status == OK:
            net.kept = rows
        return status

    return body


@kernel(Back)
def net_backward(t: Floats) -> Any:
    """Of what net_forward kept, which is there afterwards as well."""
    convert, backward = t[ANY], backward_of(t)

    def body(p):  # type: ignore[no-untyped-def]
        net = view(p.net, Net)
        last = view(p.net + NET_BYTES + (net.layers - 1) * LAYER_BYTES, Layer)
        net.rows, x = net.kept, net.kept_x  # a batch that was refused may stand there
        net.x.data, net.x.row, net.x.column = x.data, x.row, x.column
        status = call(kernel_at(convert, p.grad_from), Conversion(
            rows=net.rows, columns=last.m, source=load(p.grad),
            to=Rows(data=last.g, row=last.row),
        ))  # fmt: skip
        if status == OK:
            status = backward(net, p.accumulate, BY_PRODUCT, p.dx.data, p.dx.row)
        net.has_gradients = pick(status, 0, 1)
        return status

    return body

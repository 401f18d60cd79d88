"""A forward pass that is kept, and the backward pass of whatever is made of its logits.

In: the table, and x, or dF/dlogits, of any dtype. Out: logits; gradients in the table, and dF/dX.
What is kept stands in the table: x, and what backward reads of the layers.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import call, kernel_at, subroutine
from ..codegen.integers import pick
from ..codegen.structs import load, view
from ..gemm.args import Matrix, Rows
from ..runtime.registry import Floats, kernel
from ..runtime.table import OK
from .args import Back, Forward, Layer, Net
from .conversion import ANY, CONVERT, Conversion
from .net import LAYER_BYTES, NET_BYTES
from .train_step import BY_PRODUCT, backward_of, forward_of


def _whole(t: Floats) -> Any:
    size = t.size

    @subroutine
    def keep_whole(net, rows):  # type: ignore[no-untyped-def]
        """x of the table is what is kept of it."""
        net.rows = rows
        net.x.data, net.x.row, net.x.column = net.x_copy, net.inputs * size, size
        return OK

    return keep_whole


@kernel(Forward)
def net_forward(t: Floats) -> Any:
    """All layers, kept for net_backward: x, which a user may write into, is copied."""
    size, convert, move = t.size, t[ANY], t[CONVERT[t.dtype]]
    forward, keep_whole = forward_of(t), _whole(t)

    def body(p):  # type: ignore[no-untyped-def]
        net, rows = view(p.net, Net), p.rows
        net.kept = 0
        keep_whole(net, rows)
        status = call(kernel_at(convert, p.x_from), Conversion(
            rows=rows, columns=net.inputs, source=load(p.x),
            to=Rows(data=net.x.data, row=net.x.row),
        ))  # fmt: skip
        if status == OK:
            status = forward(net, BY_PRODUCT)
        if status == OK:
            last = view(p.net + NET_BYTES + (net.layers - 1) * LAYER_BYTES, Layer)
            status = call(move, Conversion(
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
    convert, backward, keep_whole = t[ANY], backward_of(t), _whole(t)

    def body(p):  # type: ignore[no-untyped-def]
        net = view(p.net, Net)
        last = view(p.net + NET_BYTES + (net.layers - 1) * LAYER_BYTES, Layer)
        keep_whole(net, net.kept)  # a batch that was refused may stand there
        status = call(kernel_at(convert, p.grad_from), Conversion(
            rows=net.rows, columns=last.m, source=load(p.grad),
            to=Rows(data=last.g, row=last.row),
        ))  # fmt: skip
        if status == OK:
            status = backward(net, p.accumulate, BY_PRODUCT, p.dx.data, p.dx.row)
        net.has_gradients = pick(status, 0, 1)
        return status

    return body

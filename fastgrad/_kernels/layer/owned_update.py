"""The optimizer's update of a large net on several threads: each updates the gradients it computed.

dW is cut by rows among threads (parts.py), and so is here each layer's update: cut as one flat
array, half of all gradients and weights would move from one core's cache to another's in a step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import subroutine
from ..codegen.integers import ceil_div, least, quotient, remainder
from ..codegen.structs import on_stack, view
from ..gemm import thresholds
from ..runtime.pool_kernels import ensure, fork_join
from ..runtime.registry import Floats, task
from ..runtime.table import OK
from .args import Layer, Net, Update
from .net import LAYER_BYTES, NET_BYTES
from .optimizers import update, update_some_of


class OwnedPlan(NamedTuple):
    """Task t has the t // layers-th part of the rows of the weight of layer t % layers."""

    net: int  # address of a Net
    threads: int
    update: Update  # of all parameters


@task(OwnedPlan)
def update_owned(t: Floats) -> Any:
    size, rows_max, update_some = t.size, t.isa.rows, update_some_of(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, OwnedPlan)
        net, whole = view(plan.net, Net), plan.update
        layer = view(plan.net + NET_BYTES + remainder(p.task, net.layers) * LAYER_BYTES, Layer)
        k, m = layer.k, layer.m
        rows = ceil_div(ceil_div(k, rows_max), plan.threads) * rows_max  # as parts.py cuts dW
        first = quotient(p.task, net.layers) * rows
        status = OK
        if first < k:
            at = quotient(layer.weight_grad - whole.grad, size) + first * m
            status = update_some(whole, at, least(rows, k - first) * m)
        if first == 0:
            at = quotient(layer.bias_grad - whole.grad, size)
            status |= update_some(whole, at, m)
        return status

    return body


def update_by_owners_of(t: Floats) -> Any:
    size, owned, one = t.size, t[update_owned], t[update]

    @subroutine
    def update_by_owners(net, address, plan, threads):  # type: ignore[no-untyped-def]
        """The plan of all parameters of the net, on so many threads."""
        status = ensure(one)
        if status != OK:
            return status
        job = on_stack(OwnedPlan(net=address, threads=threads, update=plan))
        ns = quotient(3 * plan.size * size, thresholds.BYTES_PER_NS)
        return fork_join(owned, job, threads * net.layers, ns)

    return update_by_owners

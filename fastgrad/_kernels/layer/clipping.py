"""Clipping: a net's table in; the norm of its gradients, and these scaled to a limit, out."""

from __future__ import annotations

import math
from typing import Any

from ..codegen import atomics
from ..codegen.calls import call, subroutine
from ..codegen.integers import bits_of, double
from ..codegen.structs import view
from ..runtime.registry import Floats, Word, kernel
from ..runtime.table import OK
from .args import Layer, Net, Numbers, Squares, Update
from .net import LAYER_BYTES, NET_BYTES, NORM_OFFSET
from .optimizers import CHUNK, LITTLE, LITTLE_SQUARES, MUCH, SCALE_MODE, squares, update_all


def _sum_layers(t: Floats) -> Any:
    sum_up = t[squares]

    @subroutine
    def sum_layers(table, factor):  # type: ignore[no-untyped-def]
        """The bits of the sum of squares of all gradients times a factor, array by array."""
        net = view(table, Net)
        layers = table + NET_BYTES
        # the norm's word holds each array's sum on the way
        norm = table + NORM_OFFSET
        total, status = 0.0, OK
        for i in range(net.layers):
            layer = view(layers + i * LAYER_BYTES, Layer)
            status |= call(sum_up, Squares(
                size=layer.k * layer.m, values=layer.weight_grad, factor=factor, sum=norm,
            ))  # fmt: skip
            total += double(net.norm)
            status |= call(sum_up, Squares(
                size=layer.m, values=layer.bias_grad, factor=factor, sum=norm,
            ))  # fmt: skip
            total += double(net.norm)
        atomics.store(norm, bits_of(total))
        return status

    return sum_layers


def _scale_grads(t: Floats) -> Any:
    scale = t[update_all]

    @subroutine
    def scale_grads(net, factor):  # type: ignore[no-untyped-def]
        words = net.optimizer.words
        return call(scale, Update(
            mode=SCALE_MODE, size=words.size, chunk=CHUNK, param=words.grad, grad=0, first=0,
            second=0, numbers=Numbers(
                lr=0, momentum=0, decay=0, beta1=0, rest1=0, beta2=0, rest2=0, root=0, eps=0,
                least=0, factor=factor,
            ),
        ))  # fmt: skip

    return scale_grads


@kernel(Word)
def clip_layers(t: Floats) -> Any:
    """Scale all gradients to the table's max_norm where their norm is above it, and finite.

    The norm is that of a sequence of arrays: weight, bias, weight, ... See clip_grad_norm. value:
    the address of the table.
    """
    sum_layers, scale_grads = _sum_layers(t), _scale_grads(t)

    def body(p):  # type: ignore[no-untyped-def]
        net = view(p.value, Net)
        status = sum_layers(p.value, bits_of(1.0))
        total, unit = double(net.norm), 1.0
        if total == math.inf:
            unit = MUCH
        elif total < LITTLE_SQUARES:
            unit = 1.0 / MUCH
        if unit != 1.0:  # squares beyond the range, or below it
            status |= sum_layers(p.value, bits_of(1.0 / unit))
        found, limit = math.sqrt(double(net.norm)) * unit, double(net.max_norm)
        atomics.store(p.value + NORM_OFFSET, bits_of(found))
        if status == OK and found > limit and found < math.inf:
            factor = limit / found
            if factor >= LITTLE:
                return scale_grads(net, bits_of(factor))
            status = scale_grads(net, bits_of(1.0 / MUCH))
            status |= scale_grads(net, bits_of(limit * MUCH / (found / MUCH)))
            status |= scale_grads(net, bits_of(1.0 / MUCH))
        return status

    return body

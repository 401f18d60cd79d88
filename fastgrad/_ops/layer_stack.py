"""A stack of layers: weight (S, in, out), bias (S, out), x (S, ..., in) or one x for all of them.

The checked path: arguments are looked at, converted, kept apart where they overlap, and then one
call does all layers. What that cannot read or write where it lies goes layer by layer, each a call
of the function for one layer. The bits are those of S calls either way, and the gradient of an x
that all layers share is the sum of theirs, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins
from . import checks, layout

Array = NDArray[Any]


def is_stack(weight: Any) -> bool:
    return getattr(weight, "ndim", 2) == 3


def dimensions(x: Any, weight: Any) -> tuple[int, int, int, int]:
    """Of y and of the gradients of x, weight and bias."""
    if weight.ndim != 3:
        return max(x.ndim, 1), max(x.ndim, 1), 2, 1
    return max(x.ndim, 2) + (x.ndim == 2), x.ndim, 3, 2


def forward(
    layer: Callable[..., Array], x: Any, weight: Array, bias: Any, activation: Any, out: Any,
    preactivation_out: Any,
) -> Array:  # fmt: skip
    f = "linear_forward"
    x, weight = checks.array(f, "x", x), checks.array(f, "weight", weight)
    if bias is not None:
        bias = checks.array(f, "bias", bias)
        _check(f, "bias", bias, (len(weight), weight.shape[2]), weight)
    dtype = checks.result_dtype(x, weight, bias)
    shape = _output_shape(f, x, weight)
    for name, array in (("out", out), ("preactivation_out", preactivation_out)):
        if array is not None:
            checks.output(f, name, array, shape, dtype)
    checks.distinct_outputs(f, out=out, preactivation_out=preactivation_out)
    x, weight = _plain(x, dtype), _plain(weight, dtype)
    bias = None if bias is None else np.ascontiguousarray(bias, dtype)
    inputs = [a for a in (x, weight, bias) if a is not None]
    y = np.empty(shape, dtype) if out is None else _apart(out, inputs)
    z = None if preactivation_out is None else _apart(preactivation_out, [*inputs, y])
    to, to_z = _bare(y), _bare(z)
    if builtins.linear_forward_stack(x, weight, bias, activation, to, to_z) is None:
        for s in range(len(weight)):
            layer(_of(x, s), weight[s], _part(bias, s), activation, _part(to, s), _part(to_z, s))
    for to, values in ((out, y), (preactivation_out, z)):
        if to is not None and values is not to:
            to[...] = values
    return y if out is None else out  # type: ignore[no-any-return]


def backward(
    layer: Callable[..., Any], grad_output: Any, x: Any, weight: Array, activation: Any,
    saved: list[Any], needed: list[bool], outs: tuple[Any, Any, Any], adds: list[bool],
) -> tuple[Array | None, ...]:  # fmt: skip
    """saved: output and preactivation, of which one is read."""
    f = "linear_backward"
    g, x, weight = (
        checks.array(f, name, a)
        for name, a in (("grad_output", grad_output), ("x", x), ("weight", weight))
    )
    kept = [None if a is None else checks.array(f, name, a)
            for name, a in zip(("output", "preactivation"), saved, strict=True)]  # fmt: skip
    dtype = checks.result_dtype(g, x, weight, *kept)
    shape = _output_shape(f, x, weight)
    for name, a in (("grad_output", g), *zip(("output", "preactivation"), kept, strict=True)):
        if a is not None:
            _check(f, name, a, shape, weight)
    shapes = (x.shape, weight.shape, (len(weight), weight.shape[2]))
    names = ("out[0] (x)", "out[1] (weight)", "out[2] (bias)")
    given = [o if n else None for o, n in zip(outs, needed, strict=True)]
    for name, to, wanted in zip(names, given, shapes, strict=True):
        if to is not None:
            checks.output(f, name, to, wanted, dtype)
    checks.distinct_outputs(f, **dict(zip(names, given, strict=True)))
    g, x, weight = (_plain(a, dtype) for a in (g, x, weight))
    kept = [None if a is None else _plain(a, dtype) for a in kept]
    inputs = [a for a in (g, x, weight, *kept) if a is not None]
    grads: list[Array | None] = []
    for to, wanted, is_needed, add in zip(given, shapes, needed, adds, strict=True):
        if to is None:
            grads.append(np.empty(wanted, dtype) if is_needed else None)
        else:
            others = [*inputs, *(a for a in grads if a is not None)]
            grads.append(_apart(to, others, keep=add))
    dx, dw, db = map(_bare, grads)
    adds = [add and to is not None for add, to in zip(adds, given, strict=True)]
    needs, to_all = tuple(needed), (dx, dw, db)
    done = builtins.linear_backward_stack(
        g, x, weight, activation, *kept, needs, to_all, tuple(adds)
    )
    if done is None:
        _layer_by_layer(layer, (g, x, weight), activation, kept, needs, to_all, adds)
    for to, values in zip(given, grads, strict=True):
        if to is not None and values is not None and values is not to:
            to[...] = values
    return tuple(a if to is None else to for to, a in zip(given, grads, strict=True))


def _layer_by_layer(
    layer: Callable[..., Any], operands: tuple[Array, Array, Array], activation: Any,
    saved: list[Any], needs: tuple[bool, ...], grads: tuple[Any, Any, Any], adds: list[bool],
) -> None:  # fmt: skip
    """The backward into ``grads``, of which one that is not needed is None."""
    (g, x, weight), (dx, dw, db) = operands, grads
    is_shared = x.ndim < 3
    for s in range(len(weight)):
        layer(
            g[s], _of(x, s), weight[s], activation, *(_part(a, s) for a in saved), needs,
            (None if dx is None else _of(dx, s), _part(dw, s), _part(db, s)),
            (adds[0] or (s > 0 and is_shared), *adds[1:]) if any(needs) else False,
        )  # fmt: skip
    if dx is not None and len(weight) == 0 and is_shared and not adds[0]:
        dx[...] = 0  # a sum of nothing


def _output_shape(function: str, x: Array, weight: Array) -> tuple[int, ...]:
    """(S, ..., out). An x of one or two dimensions is one for all layers."""
    if x.ndim == 0:
        raise ValueError(f"{function}: x is 0-dimensional, expected (S, ..., in) or (rows, in)")
    layers, inputs, outputs = weight.shape
    if x.shape[-1] != inputs:
        checks.mismatch(
            function, f"x has {x.shape[-1]} columns but each weight has {inputs} rows",
            "if weights are stored (S, out, in), pass weight.swapaxes(1, 2)", x=x, weight=weight,
        )  # fmt: skip
    if x.ndim > 2 and len(x) != layers:
        checks.mismatch(
            function, f"x is of {len(x)} layers but weight of {layers}",
            "pass x of shape (S, ..., in), or (rows, in) for all layers", x=x, weight=weight,
        )  # fmt: skip
    rows = x.shape[1:-1] if x.ndim > 2 else x.shape[:-1]
    return (layers, *rows, outputs)


def _check(function: str, name: str, a: Array, shape: tuple[int, ...], weight: Array) -> None:
    if a.shape != shape:
        checks.mismatch(
            function, f"{name} has shape {a.shape}, expected {shape}",
            f"pass {name} of shape {shape}", **{name: a, "weight": weight},
        )  # fmt: skip


def _plain(a: Array, dtype: np.dtype[Any]) -> Array:
    a = checks.plain(a, dtype)
    return layout.collapsed(a) if a.ndim > 3 else a


def _bare(a: Array | None) -> Array | None:
    """An ndarray of that memory, not a memmap: what builtins take."""
    return None if a is None else a.view(np.ndarray)


def _part(a: Array | None, s: int) -> Array | None:
    return None if a is None else a[s]


def _of(x: Array, s: int) -> Array:
    """The x of layer s, or that of all."""
    return x[s] if x.ndim > 2 else x


def _apart(target: Array, others: list[Array], keep: bool = False) -> Array:
    """``target``, or a new array to be copied into it: where it may overlap another one, or where
    a kernel might not write it and it is not large."""
    odd = target.nbytes <= layout.GATHER_BYTES and not target.flags.c_contiguous
    if odd or any(np.may_share_memory(target, a) for a in others):
        return target.copy("C") if keep else np.empty(target.shape, target.dtype)
    return target

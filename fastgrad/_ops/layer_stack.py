"""A stack of layers: weight (S, in, out), bias (S, out), x (S, ..., in) or one x for all of them.

Layer by layer, each a call of the function for one layer: so the bits are those of S calls, and the
gradient of an x that all layers share is the sum of theirs, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checks

Array = NDArray[Any]


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
    checks.activation(f, activation)
    dtype = checks.result_dtype(x, weight, bias)
    shape = _output_shape(f, x, weight)
    for name, array in (("out", out), ("preactivation_out", preactivation_out)):
        if array is not None:
            checks.output(f, name, array, shape, dtype)
    checks.distinct_outputs(f, out=out, preactivation_out=preactivation_out)
    inputs = [a for a in (x, weight, bias) if a is not None]
    y = np.empty(shape, dtype) if out is None else _apart(out, inputs)
    z = None if preactivation_out is None else _apart(preactivation_out, [*inputs, y])
    for s in range(len(weight)):
        layer(
            _of(x, s), weight[s], None if bias is None else bias[s], activation,
            y[s], None if z is None else z[s],
        )  # fmt: skip
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
    inputs = [a for a in (g, x, weight, *kept) if a is not None]
    grads: list[Array | None] = []
    for to, wanted, is_needed, add in zip(given, shapes, needed, adds, strict=True):
        if to is None:
            grads.append(np.empty(wanted, dtype) if is_needed else None)
        else:
            others = [*inputs, *(a for a in grads if a is not None)]
            grads.append(_apart(to, others, keep=add))
    dx, dw, db = grads
    adds = [add and to is not None for add, to in zip(adds, given, strict=True)]
    is_shared = x.ndim < 3
    for s in range(len(weight)):
        place = None if dx is None else _of(dx, s)
        layer(
            g[s], _of(x, s), weight[s], activation,
            *(None if a is None else a[s] for a in kept), tuple(needed),
            (place, None if dw is None else dw[s], None if db is None else db[s]),
            (adds[0] or (s > 0 and is_shared), *adds[1:]) if any(needed) else False,
        )  # fmt: skip
    if dx is not None and len(weight) == 0 and is_shared and not adds[0]:
        dx[...] = 0  # a sum of nothing
    for to, values in zip(given, grads, strict=True):
        if to is not None and values is not None and values is not to:
            to[...] = values
    return tuple(a if to is None else to for to, a in zip(given, grads, strict=True))


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


def _of(x: Array, s: int) -> Array:
    """The x of layer s, or that of all."""
    return x[s] if x.ndim > 2 else x


def _apart(target: Array, others: list[Array], keep: bool = False) -> Array:
    """``target``, or a new array to be copied into it, where it may overlap another one."""
    if any(np.may_share_memory(target, a) for a in others):
        return target.copy("C") if keep else np.empty(target.shape, target.dtype)
    return target

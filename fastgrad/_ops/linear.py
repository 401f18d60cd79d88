"""linear_forward and linear_backward: a dense layer Y = act(X·W + b) and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins
from .._kernels.bind.grads import LinearGrads as LinearGrads
from .._kernels.codegen.structs import make
from .._kernels.formulas.activations import Activation
from .._kernels.formulas.activations import ActivationName as ActivationName
from .._kernels.gemm.args import Product
from .._kernels.gemm.dispatch import gemm
from .._kernels.layer.args import Backward
from .._kernels.layer.backward import linear_backward as backward_kernel
from . import checks, layer_stack, layout
from .kernel_call import NO_MATRIX, NO_ROWS, data, matrix, rows, run

Array = NDArray[Any]
_SAVED = ("output", "preactivation")  # what an activation's derivative is computed from


def linear_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    activation: ActivationName | None = None,
    out: Array | None = None,
    preactivation_out: Array | None = None,
) -> Array:
    """Y = act(X·W + b): x (..., in) · weight (in, out) + bias (out,) -> y (..., out).

    activation: None, "relu", "sigmoid", "tanh", "gelu" (by erf), "gelu_tanh" or "silu".
    Computed in np.result_type of the arrays and float32. Any strides are read where they are; a
    weight stored (out, in) is passed as weight.T at the same speed.

    out and preactivation_out, of the shape (..., out) and dtype of y, are written: Y, which is
    returned, and Z = X·W + b, which `linear_backward` wants for gelu, gelu_tanh and silu. Where one
    overlaps an input, the inputs are as if read first. Row i depends on row i of x alone: any
    batch gives the same bits.

    A weight (S, in, out) with a bias (S, out) is S layers in one call: x (S, ..., in), or (in,) or
    (rows, in) for all of them, -> y (S, ..., out).

    Raises TypeError and ValueError, before anything is written, for arguments that do not fit.
    """
    y = builtins.linear_forward(x, weight, bias, activation, out, preactivation_out)
    if y is None and layer_stack.is_stack(weight):
        y = builtins.linear_forward_stack(x, weight, bias, activation, out, preactivation_out)
    if y is None:
        y = _checked_forward(x, weight, bias, activation, out, preactivation_out)
    return y  # type: ignore[no-any-return]


def _checked_forward(
    x: Any, weight: Any, bias: Any, activation: Any, out: Any, preactivation_out: Any
) -> Array:
    f = "linear_forward"
    x, weight = checks.array(f, "x", x), checks.array(f, "weight", weight)
    if bias is not None:
        bias = checks.array(f, "bias", bias)
    act = checks.activation(f, activation)
    if weight.ndim == 3:
        name = act.name if act else None
        return layer_stack.forward(linear_forward, x, weight, bias, name, out, preactivation_out)
    dtype = checks.result_dtype(x, weight, bias)
    _check_layer(f, x, weight)
    width = weight.shape[1]
    if bias is not None and bias.shape != (width,):
        checks.mismatch(
            f,
            f"bias has shape {bias.shape} but weight has {width} columns",
            f"pass a bias of shape ({width},)",
            bias=bias,
            weight=weight,
        )
    shape = (*x.shape[:-1], width)
    for name, array in (("out", out), ("preactivation_out", preactivation_out)):
        if array is not None:
            checks.output(f, name, array, shape, dtype)
    checks.distinct_outputs(f, out=out, preactivation_out=preactivation_out)

    x, weight = layout.collapsed(checks.plain(x, dtype)), checks.plain(weight, dtype)
    row = None if bias is None else np.ascontiguousarray(bias, dtype)
    inputs = [x, weight] if row is None else [x, weight, row]
    y = fresh = np.empty(shape, dtype) if out is None else out
    if out is not None:
        fresh = _unless_overlapping(out, *inputs)
    z = preactivation_out
    fresh_z = None if z is None else _unless_overlapping(z, *inputs, y)
    if builtins.linear_forward(x, weight, row, activation, fresh, fresh_z) is None:
        targets = [fresh] if fresh_z is None else [fresh, fresh_z]
        _forward(targets, x, weight, row, act.code if act else 0)
    if fresh is not y:
        y[...] = fresh
    if z is not None and fresh_z is not None and fresh_z is not z:
        z[...] = fresh_z
    return y


def linear_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    activation: ActivationName | None = None,
    output: Array | None = None,
    preactivation: Array | None = None,
    needs: tuple[bool, bool, bool] = (True, True, True),
    out: tuple[Array | None, Array | None, Array | None] = (None, None, None),
    accumulate: bool | tuple[bool, bool, bool] = False,
) -> LinearGrads:
    """dX = H·Wᵀ, dW = Xᵀ·H, db = column sums of H, where H = G ∘ act'(Z).

    grad_output (..., out), x (..., in), weight (in, out) -> LinearGrads of shapes (..., in),
    (in, out), (out,). relu, sigmoid and tanh take ``output`` (Y), gelu, gelu_tanh and silu
    ``preactivation`` (Z), both (..., out); the other one is ignored.

    needs: which of the gradients of x, weight and bias to compute; the others are None, and an
    ``out`` for them is left alone. out: arrays to write them into, each of the gradient's shape and
    dtype, or None for a new one. accumulate: True adds to what is in every ``out`` given, a tuple
    says so for each; new arrays are always written. Outs may overlap inputs (which are as if read
    first) but not each other.

    Of S layers, weight (S, in, out), all have S first; the gradient of an x of one or two
    dimensions, which all of them read, is the sum of theirs.

    The bits equal those of one call for each gradient, and of micro-batches accumulated in order
    when all but the last are multiples of fastgrad.KC rows.
    """
    grads = builtins.linear_backward(
        grad_output, x, weight, activation, output, preactivation, needs, out, accumulate
    )
    if grads is None and layer_stack.is_stack(weight):
        grads = builtins.linear_backward_stack(
            grad_output, x, weight, activation, output, preactivation, needs, out, accumulate
        )
    if grads is None:
        grads = _checked_backward(
            grad_output, x, weight, activation, output, preactivation, needs, out, accumulate
        )
    return grads  # type: ignore[no-any-return]


def _checked_backward(
    grad_output: Any,
    x: Any,
    weight: Any,
    activation: Any,
    output: Any,
    preactivation: Any,
    needs: Any,
    out: Any,
    accumulate: Any,
) -> LinearGrads:
    f = "linear_backward"
    g = checks.array(f, "grad_output", grad_output)
    x, weight = checks.array(f, "x", x), checks.array(f, "weight", weight)
    act = checks.activation(f, activation)
    saved = _saved(f, act, output, preactivation)
    needed = [checks.flag(f, "needs", n) for n in checks.triple(f, "needs", needs, "bools")]
    outs = checks.triple(f, "out", out, "arrays or None")
    if isinstance(accumulate, tuple | list):
        flags = checks.triple(f, "accumulate", accumulate, "bools")
    else:
        flags = (accumulate,) * 3
    adds = [checks.flag(f, "accumulate", a) for a in flags]
    if any(adds) and all(o is None for o in outs):
        raise ValueError(
            f"{f}: accumulate adds to out, but no out is given; pass out=(x, weight, bias)"
        )
    if weight.ndim == 3:
        kept = [saved if act and act.saved == name else None for name in _SAVED]
        name = act.name if act else None
        return LinearGrads(*layer_stack.backward(
            linear_backward, g, x, weight, name, kept, needed, outs, adds
        ))  # fmt: skip
    dtype = checks.result_dtype(g, x, weight, saved)
    _check_layer(f, x, weight)
    _check_output_shape(f, "grad_output", g, x, weight)
    if saved is not None and act is not None:
        _check_output_shape(f, act.saved, saved, x, weight)
    shapes = (x.shape, weight.shape, weight.shape[1:])
    names = ("out[0] (x)", "out[1] (weight)", "out[2] (bias)")
    given = [o if n else None for o, n in zip(outs, needed, strict=True)]
    for i in range(3):
        if given[i] is not None:
            checks.output(f, names[i], given[i], shapes[i], dtype)
    checks.distinct_outputs(f, **dict(zip(names, given, strict=True)))

    weight = checks.plain(weight, dtype)
    g, x = (layout.collapsed(checks.plain(a, dtype)) for a in (g, x))
    saved = g if saved is None else layout.collapsed(checks.plain(saved, dtype))
    fresh: list[Array | None] = [None, None, None]
    for i in range(3):
        to = given[i]
        adds[i] = adds[i] and to is not None
        if to is not None:
            before = [t for t in given[:i] if t is not None]
            fresh[i] = _unless_overlapping(
                to, g, x, weight, saved, *before, keep=adds[i], unit=i > 0
            )
        elif needed[i]:
            fresh[i] = np.empty(shapes[i], dtype)
    dx, dw, db = fresh
    to_all = dx, dw, db
    done = builtins.linear_backward(
        g, x, weight, activation, saved, saved, tuple(needed), to_all, tuple(adds)
    )
    if done is None:
        _backward(to_all, g, x, weight, saved, act.code if act else 0, adds)
    for to, values in zip(given, fresh, strict=True):
        if to is not None and values is not None and values is not to:
            to[...] = values
    return LinearGrads(*(f if to is None else to for to, f in zip(given, fresh, strict=True)))


def _check_layer(function: str, x: Array, weight: Array) -> None:
    if weight.ndim != 2:
        raise ValueError(
            f"{function}: weight has {weight.ndim} dimensions {weight.shape}, "
            "expected 2, (in, out), or 3, (layers, in, out)"
        )
    if x.ndim == 0:
        raise ValueError(f"{function}: x is 0-dimensional, expected 1 dimension or more: (..., in)")
    if x.shape[-1] != weight.shape[0]:
        checks.mismatch(
            function,
            f"x has {x.shape[-1]} columns but weight has {weight.shape[0]} rows",
            "if weight is stored (out, in), pass weight.T",
            x=x,
            weight=weight,
        )


def _check_output_shape(function: str, name: str, a: Array, x: Array, weight: Array) -> None:
    expected = (*x.shape[:-1], weight.shape[1])
    if a.shape != expected:
        checks.mismatch(
            function,
            f"{name} has shape {a.shape} but the layer's output has shape {expected}",
            f"pass {name} of shape {expected}",
            **{name: a, "x": x, "weight": weight},
        )


def _saved(function: str, act: Activation | None, output: Any, preactivation: Any) -> Array | None:
    """The array that the activation's derivative is computed from; the other one is ignored."""
    if act is None:
        return None
    given = {"output": output, "preactivation": preactivation}[act.saved]
    if given is None:
        source = "y" if act.saved == "output" else "what preactivation_out received"
        raise ValueError(
            f"{function}: {act.saved} is None but activation {act.name!r} needs it; "
            f"pass {act.saved}={source} of linear_forward"
        )
    return checks.array(function, act.saved, given)


def _unless_overlapping(
    target: Array, *others: Array, keep: bool = False, unit: bool = False
) -> Array:
    """``target``, or a new array to be copied into it when done.

    A new one where the memory of target and of an input or another output may interleave, or
    (``unit``) where no kernel can write it; it starts with what target holds if that is kept.
    """
    odd = unit and (
        not layout.is_writable_matrix(target)
        if target.ndim == 2
        else target.strides[0] != target.itemsize
    )
    if odd or any(np.may_share_memory(target, a) for a in others):
        return target.copy("C") if keep else np.empty(target.shape, target.dtype)
    return target


def _forward(
    targets: list[Array], x: Array, weight: Array, bias: Array | None, activation: int
) -> None:
    """targets: [y] or [y, z], all (..., out), none overlapping an input."""
    if all(layout.collapses(a) for a in (x, *targets)):
        y, *z = (layout.as_rows(a) for a in targets)
        if all(layout.has_unit_stride(a) for a in (y, *z)):
            left = layout.as_rows(x)
            args = make(
        Product,
                len(left), weight.shape[1], weight.shape[0], matrix(left), matrix(weight),
                matrix(y), rows(z[0]) if z else NO_ROWS, 0 if bias is None else data(bias),
                activation, 0, 0,
            )  # fmt: skip
            run(gemm, x.dtype, args)
            return
    for block in layout.row_blocks(layout.rows_of(x), x.dtype, x.shape[-1], weight.shape[1]):
        rows_in_block = block.stop - block.start
        parts = [np.empty((rows_in_block, weight.shape[1]), x.dtype) for _ in targets]
        _forward(parts, layout.gather(x, block), weight, bias, activation)
        for target, part in zip(targets, parts, strict=True):
            layout.scatter(target, block, part)


def _backward(
    targets: tuple[Array | None, Array | None, Array | None],
    g: Array,
    x: Array,
    weight: Array,
    saved: Array,
    activation: int,
    adds: list[bool],
) -> None:
    """targets: dx, dw, db or None, none overlapping an input; dw and db as kernels write them."""
    dx, dw, db = targets
    rowwise = (g, x, saved) if dx is None else (g, x, saved, dx)
    whole = all(layout.collapses(a) for a in rowwise)
    if whole and (dx is None or layout.is_writable_matrix(layout.as_rows(dx))):
        g, x, saved = (layout.as_rows(a) for a in (g, x, saved))
        add = [to is not None and a for to, a in zip(targets, adds, strict=True)]
        args = make(Backward,
            *x.shape, weight.shape[1], matrix(g), matrix(x), matrix(weight), matrix(saved),
            *(NO_MATRIX if to is None else matrix(layout.as_rows(to)) for to in (dx, dw)),
            0 if db is None else data(db), activation, *add, 0,
        )  # fmt: skip
        run(backward_kernel, x.dtype, args)
        return
    adds = list(adds)
    for block in layout.row_blocks(layout.rows_of(x), x.dtype, x.shape[-1], weight.shape[1]):
        part = None
        if dx is not None:
            part = (
                layout.gather(dx, block)
                if adds[0]
                else np.empty((block.stop - block.start, x.shape[-1]), x.dtype)
            )
        _backward(
            (part, dw, db),
            layout.gather(g, block),
            layout.gather(x, block),
            weight,
            layout.gather(saved, block),
            activation,
            adds,
        )
        if dx is not None and part is not None:
            layout.scatter(dx, block, part)
        adds[1] = adds[2] = True

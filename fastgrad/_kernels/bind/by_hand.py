"""The functions of entries.py in plain Python: slow, and right where builtins cannot be made.

They take and answer the same, by the same rules: calls.py says it once more for compiled code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formulas.activations import BY_NAME, TABLE
from ..gemm.dispatch import GEMM
from ..layer.backward import BACKWARD_KERNEL
from ..runtime import jit
from .grads import LinearGrads

Array = NDArray[Any]
_DTYPES: dict[Any, str] = {np.dtype(name): name for name in jit.DTYPES}
_CODES: dict[str | None, int] = {None: 0, **{row.name: row.code for row in TABLE}}


def product(a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    """c (m, n) = or += a (m, k) . b (k, n)"""
    if not _are_matrices(a, b) or not _are_flags(accumulate) or a.shape[1] != b.shape[0]:
        return None
    if out is None:
        if accumulate:
            return None
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    if not _are_outputs((out, (a.shape[0], b.shape[1])), reads=(a, b)):
        return None
    return _product(a, b, out, accumulate)


def product_nt(a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    """b is given transposed."""
    return product(a, b.T, out, accumulate) if _are_matrices(a, b) else None


def product_tn(a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    """a is given transposed."""
    return product(a.T, b, out, accumulate) if _are_matrices(a, b) else None


def product_stack(a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    """c (s, m, n) = or += a (s, m, k) . b (s, k, n), matrix by matrix"""
    if not _are_plain((a, 3), (b, 3), (out, 3)) or len({len(a), len(b), len(out)}) > 1:
        return None
    if np.may_share_memory(out, a) or np.may_share_memory(out, b):
        return None
    for matrices in zip(a, b, out, strict=True):  # all are refused or none
        if product(*matrices, accumulate) is None:
            return None
    return out


def _product(a: Array, b: Array, c: Array, accumulate: bool) -> Any:
    (m, k), n = a.shape, b.shape[1]
    words = (m, n, k, *_words(a), *_words(b), *_words(c), 0, 0, 0, 0, int(accumulate), 0)
    return _call(GEMM, c, words)


def forward(x: Any, weight: Any, bias: Any, activation: Any, out: Any, z: Any) -> Any:
    """y (n, m) = act(z), z (n, m) = x (n, k) . w (k, m) + bias (m,)"""
    if not _are_matrices(x, weight) or not _is_name(activation):
        return None
    (n, k), m = x.shape, weight.shape[1]
    reads, targets = [x, weight], [] if z is None else [(z, (n, m))]
    if bias is not None:
        if not _are_plain((x, 2), (bias, 1)) or bias.shape != (m,) or not _is_unit(bias):
            return None
        reads.append(bias)
    if weight.shape[0] != k:
        return None
    out = np.empty((n, m), x.dtype) if out is None else out
    if not _are_outputs((out, (n, m)), *targets, reads=reads):
        return None
    if not all(_has_dense_rows(target) for target, _ in ((out, ()), *targets)):
        return None
    to_z = (0, 0) if z is None else _words(z)[:2]
    row = 0 if bias is None else _data(bias)
    words = (n, m, k, *_words(x), *_words(weight), *_words(out), *to_z, row)
    return _call(GEMM, out, (*words, _CODES[activation], 0, 0))


def backward(
    g: Any,
    x: Any,
    weight: Any,
    activation: Any,
    output: Any,
    preactivation: Any,
    needs: Any,
    out: Any,
    accumulate: Any,
) -> Any:
    """dx (n, k), dw (k, m), db (m,) = or += the backward of forward; g and saved (n, m)"""
    adds = accumulate if type(accumulate) is tuple else (accumulate,) * 3
    for triple in (needs, out, adds):
        if type(triple) is not tuple or len(triple) != 3:
            return None
    if not _are_flags(*needs, *adds) or not _is_name(activation):
        return None
    if any(adds) and all(a is None for a in out):
        return None
    saved = g
    if activation is not None:
        saved = output if BY_NAME[activation].saved == "output" else preactivation
    if not _are_matrices(g, x, weight, saved):
        return None
    (n, k), m = x.shape, weight.shape[1]
    if weight.shape[0] != k or g.shape != (n, m) or saved.shape != (n, m):
        return None
    shapes = ((n, k), (k, m), (m,))
    bits = [int(add and to is not None) for add, to in zip(adds, out, strict=True)]
    targets = [
        (np.empty(shape, x.dtype) if to is None else to) if need else None
        for need, to, shape in zip(needs, out, shapes, strict=True)
    ]
    given = [(to, shape) for to, shape in zip(targets, shapes, strict=True) if to is not None]
    if not _are_outputs(*given, reads=(g, x, weight, saved)):
        return None
    to_words = [
        word
        for to, ndim in zip(targets, (2, 2, 1), strict=True)
        for word in ([0] * (1 + ndim) if to is None else _words(to))
    ]
    words = (n, k, m, *_words(g), *_words(x), *_words(weight), *_words(saved), *to_words[:-1])
    _call(BACKWARD_KERNEL, x, (*words, _CODES[activation], *bits))
    return LinearGrads(*targets)


def unary(x: Any, out: Any, number: int) -> Any:
    """y (n,) = a formula of x (n,); its slot for float32 is given"""
    if not _are_plain((x, 1), (out, 1)) or not _is_unit(x):
        return None
    if not _are_outputs((out, x.shape), reads=(x,)):
        return None
    words = (1, x.size, _data(x), 0, _data(out), 0)
    return _call_slot(number + (x.dtype == np.float64), out, words)


# what is required ---------------------------------------------------------------------------


def _are_plain(*given: tuple[Any, int]) -> bool:
    """(array, number of dimensions) each: ndarrays of one dtype, float32 or float64."""
    if any(type(a) is not np.ndarray or a.ndim != ndim for a, ndim in given):
        return False
    first = given[0][0].dtype
    return first in _DTYPES and all(a.dtype == first for a, _ in given)


def _are_matrices(*arrays: Any) -> bool:
    return _are_plain(*((a, 2) for a in arrays))


def _are_flags(*flags: Any) -> bool:
    return all(flag is True or flag is False for flag in flags)


def _is_name(activation: Any) -> bool:
    return activation is None or (type(activation) is str and activation in _CODES)


def _are_outputs(*given: tuple[Any, tuple[int, ...]], reads: Sequence[Array]) -> bool:
    """(array, shape) each: that a kernel can write, overlapping nothing."""
    for a, shape in given:
        if not _are_plain((reads[0], reads[0].ndim), (a, len(shape))) or a.shape != shape:
            return False
        dense = _is_unit(a) if a.ndim == 1 else _has_dense_rows(a) or _has_dense_rows(a.T)
        if not a.flags.writeable or not dense:
            return False
    arrays = [a for a, _ in given]
    others = (*arrays, *reads)
    return not any(np.may_share_memory(a, b) for i, a in enumerate(arrays) for b in others[i + 1 :])


def _is_unit(vector: Array) -> bool:
    return vector.size <= 1 or vector.strides[0] == vector.itemsize


def _has_dense_rows(a: Array) -> bool:
    lines, length = a.shape
    unit = length <= 1 or lines == 0 or a.strides[1] == a.itemsize
    return unit and (lines <= 1 or abs(a.strides[0]) >= length * a.itemsize)


# descriptors ----------------------------------------------------------------------------------


def _data(a: Array) -> int:
    return int(a.__array_interface__["data"][0])


def _words(a: Array) -> tuple[int, ...]:
    return (_data(a), *a.strides)


def _call(number: int, result: Array, words: Sequence[int]) -> Any:
    return _call_slot(jit.slot(number, _DTYPES[result.dtype]), result, words)


def _call_slot(index: int, result: Array, words: Sequence[int]) -> Any:
    """``result``, or the failure of the kernel."""
    descriptor = (ctypes.c_int64 * len(words))(*words)
    kernel = jit.KERNEL_TYPE(jit.TABLE[index])
    status = kernel(ctypes.addressof(descriptor))
    if status != jit.OK:
        jit.raise_status(status)
    return result

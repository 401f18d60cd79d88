"""Losses and optimizer steps of a user's compiled function: checked, and on to the kernels.

What is not plain is left to Python, as in user_products.py; so are the losses whose targets have to
be looked at before anything is written.
"""

from __future__ import annotations

import struct
from typing import Any

from numba.extending import register_jitable

from ..codegen.memory import call_kernel, word
from ..layer.losses import MSE, SOFTMAX_LABELS
from ..layer.optimizers import ADAM, SGD
from ..runtime.jit import BAD_LABEL, OPTIONS, register, slot, stamp
from .records import (
    CAREFUL,
    DATA,
    FLAGS,
    FLOAT64,
    FUNCTION,
    KIND,
    LENGTHS,
    NDIM,
    NUMBER,
    OPERANDS,
    READ_ONLY,
    are_apart,
    column,
    float_size,
    kind_code,
    matrix,
)
from .texts import byte

_INT64, _BOOL = kind_code("i", 8), kind_code("b", 1)


def _bits(x: float) -> int:
    return int(struct.unpack("q", struct.pack("d", x))[0])


# Of float64 that are not negative, those below are those whose bits are below.
_ONE, _INFINITY, _TINIEST = _bits(1.0), _bits(float("inf")), _bits(5e-324)


@register_jitable(forceinline=True, **OPTIONS)
def _number(r):  # type: ignore[no-untyped-def]
    """The bits of a record of a float64 from +0.0; -1 of another number."""
    return word(word(r, DATA), 0) if word(r, KIND) == FLOAT64 else -1


@register_jitable(forceinline=True, **OPTIONS)
def _is_below(bits, limit):  # type: ignore[no-untyped-def]
    return bits >= 0 and bits < limit


@register_jitable(**OPTIONS)
def _is_like(r, one, size):  # type: ignore[no-untyped-def]
    """Whether a record has the lengths of another one, and elements of this size."""
    if word(r, NDIM) != word(one, NDIM) or float_size(r) != size:
        return False
    for axis in range(word(one, NDIM)):
        if word(r, LENGTHS + axis) != word(one, LENGTHS + axis):
            return False
    return True


@register_jitable(**OPTIONS)
def _flat(r, size):  # type: ignore[no-untyped-def]
    """A record as a matrix of one column, and whether it is C-contiguous."""
    m, even = column(r, size)
    return m, even and (m[2] == size or m[1] <= 1)


@register_jitable(**OPTIONS)
def _loss_rows(r, size):  # type: ignore[no-untyped-def]
    """(..., m) as rows; (n,) is n rows of one."""
    if word(r, NDIM) == 1:
        return column(r, size)
    return matrix(r)


def user_loss(dtype: str) -> Any:
    version = stamp()
    labels_slot, squares_slot = slot(SOFTMAX_LABELS, "float32"), slot(MSE, "float32")
    softmax = NUMBER["softmax_cross_entropy"]
    int64, most = _INT64, _ONE

    def kernel_user_loss(p):  # type: ignore[no-untyped-def]
        _ = version
        d = word(p, 0)
        at = d + 8 * OPERANDS
        z, t = word(at, 0), word(at, 1)
        is_softmax = word(d, FUNCTION) == softmax
        loss, g = (word(at, 3), word(at, 4)) if is_softmax else (word(at, 2), word(at, 3))
        size = float_size(z)
        if size == 0 or word(z, NDIM) == 0:
            return CAREFUL
        rows, even = _loss_rows(z, size)
        grad, _ = _loss_rows(g, size)
        if not even or rows[1] == 0 or rows[3] == 0:
            return CAREFUL
        number, smoothing = squares_slot, 0
        if is_softmax:
            number, smoothing = labels_slot, _number(word(at, 2))
            if word(z, NDIM) != 2 or word(t, NDIM) != 1 or word(t, KIND) != int64:
                return CAREFUL
            targets, _ = column(t, 0)
            # smoothing from 0 to 1, and aligned labels
            if targets[1] != rows[1] or (targets[0] | targets[2]) & 7 != 0:
                return CAREFUL
            if not _is_below(smoothing, most + 1):
                return CAREFUL
        else:
            targets, even = _loss_rows(t, size)
            if not even or not _is_like(t, z, size):
                return CAREFUL
        status = call_kernel(number + (size >> 3), (
            rows[1], rows[3], rows[0], rows[2], rows[4], targets[0], targets[2], targets[4],
            grad[0], grad[2], word(loss, DATA), smoothing,
        ))  # fmt: skip
        return CAREFUL if status == BAD_LABEL else status

    return kernel_user_loss


USER_LOSS = register("user_loss", user_loss, ("float32",))


def user_step(dtype: str) -> Any:
    version = stamp()
    sgd, adam = slot(SGD, "float32"), slot(ADAM, "float32")
    adam_number, int64, of_bool = NUMBER["adam_step"], _INT64, _BOOL
    one, infinity, tiniest = _ONE, _INFINITY, _TINIEST

    def kernel_user_step(p):  # type: ignore[no-untyped-def]
        _ = version
        d = word(p, 0)
        at = d + 8 * OPERANDS
        is_adam = word(d, FUNCTION) == adam_number
        param, grad = word(at, 0), word(at, 1)
        momentum = nesterov = 0
        if is_adam:
            first, second = word(at, 2), word(at, 3)
            lr, decay = _number(word(at, 5)), _number(word(at, 9))
        else:
            first, second = word(at, 3), 0
            lr, decay, momentum = (
                _number(word(at, 2)), _number(word(at, 6)), _number(word(at, 4)),
            )  # fmt: skip
            if not _is_below(momentum, one) or word(word(at, 5), KIND) != of_bool:
                return CAREFUL
            nesterov = byte(word(word(at, 5), DATA))
            if momentum < tiniest:
                if nesterov != 0:
                    return CAREFUL
                first = 0
            elif first == 0:
                return CAREFUL
        size = float_size(param)
        if size == 0 or not _is_below(lr, infinity) or not _is_below(decay, infinity):
            return CAREFUL
        to, flat = _flat(param, size)
        if not flat or word(param, FLAGS) & READ_ONLY != 0:
            return CAREFUL
        g, flat_g = _flat(grad, size)
        if not flat_g or not _is_like(grad, param, size) or not are_apart(to, g, size):
            return CAREFUL
        u, v = (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)
        if first != 0:
            u, flat = _flat(first, size)
            if not flat or not _is_like(first, param, size) or word(first, FLAGS) & READ_ONLY != 0:
                return CAREFUL
        if second != 0:
            v, flat = _flat(second, size)
            if not flat or not _is_like(second, param, size):
                return CAREFUL
            if word(second, FLAGS) & READ_ONLY != 0:
                return CAREFUL
        if not are_apart(to, u, size) or not are_apart(to, v, size) or not are_apart(u, v, size):
            return CAREFUL
        if not are_apart(g, u, size) or not are_apart(g, v, size):
            return CAREFUL
        if not is_adam:
            return call_kernel(sgd + (size >> 3), (
                to[1], to[0], g[0], u[0], lr, momentum, nesterov, decay,
            ))  # fmt: skip
        step = word(at, 4)
        b1, b2, eps = _number(word(at, 6)), _number(word(at, 7)), _number(word(at, 8))
        if word(step, KIND) != int64 or word(word(step, DATA), 0) < 1:
            return CAREFUL
        if not _is_below(b1, one) or not _is_below(b2, one) or not _is_below(eps, infinity):
            return CAREFUL
        return call_kernel(adam + (size >> 3), (
            to[1], to[0], g[0], u[0], v[0], word(word(step, DATA), 0), lr, b1, b2, eps, decay,
        ))  # fmt: skip

    return kernel_user_step


USER_STEP = register("user_step", user_step, ("float32",))

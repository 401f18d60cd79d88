"""A training step: forward, loss, backward and optimizer of a net that a table describes.

In: the table, whose layers may have any number, widths and activations; x and targets of any
strides. Out: changed parameters, their gradients, and the loss, in the table. The bits are those of
the same kernels called one by one.
"""

from __future__ import annotations

import math
from typing import Any

from ..codegen import atomics
from ..codegen.integers import ceil_div, least, most, pick
from ..codegen.memory import call_kernel, in_memory, word
from ..codegen.target import KC
from ..formulas.elementwise import BACKWARD
from ..gemm.dispatch import GEMM
from ..runtime.jit import OK, register, slot, stamp
from ..runtime.thread_pool import FORK_JOIN, ensure, threads_in_force
from .backward import BACKWARD_KERNEL, FORM_H
from .optimizers import CHUNK, SCALE_MODE, SHARE, SQUARES, bits_of, double

# The table, 64-bit words; strides in bytes. First the head, ...
HEAD = (
    "rows",
    "x", "x_row", "x_column",
    "targets", "targets_row", "targets_column",
    "loss",  # a float64, written
    "steps",  # done so far; a step adds 1
    "loss_slot", "smoothing",  # see losses.py
    "optimizer_slot",
    *(f"optimizer_{i}" for i in range(11)),  # its descriptor, see optim.py
    "counts_steps",  # 1: word 5 of it is the number of the step, from 1
    "max_norm", "norm",  # of all gradients: float64, 0.0: not asked for; written if so
    "block",  # rows whose dX is formed at a time, a multiple of KC
    "layers",
    # for callers from Python, see step_entry.py
    "busy",  # 1 during a step
    "inputs", "outputs", "most_rows", "row_fmas", "is_double", "targets_ndim", "targets_format",
)  # fmt: skip
# ... then for each layer, the input's first:
LAYER = (
    "k", "m",
    "weight", "bias", "activation",  # (k, m), (m,)
    "weight_grad", "bias_grad",
    "y", "z",  # (rows, m); z: the pre-activation, 0 where backward needs y
    "g",  # dF/dY: of the last layer (rows, m), of others (block, m)
    "row",  # bytes from one row to the next, of y, z and g
)  # fmt: skip
SHARED = 1 << 14  # elements of dF/dZ that are worth several threads
PLACE = {name: i for i, name in enumerate(HEAD)}


def clip_layers(dtype: str) -> Any:
    """Scale all gradients to the table's max_norm where their norm is above it, and finite.

    The norm is that of a sequence of arrays: weight, bias, weight, ... See clip_grad_norm.
    """
    version = stamp()
    squares, share = slot(SQUARES, dtype), slot(SHARE, dtype)
    head, layer = 8 * len(HEAD), 8 * len(LAYER)
    MAX_NORM, OPTIMIZER, LAYERS = (PLACE[n] for n in ("max_norm", "optimizer_slot", "layers"))

    def kernel_clip_layers(d):  # type: ignore[no-untyped-def]
        _ = version
        d = word(d, 0)
        norm = d + 8 * MAX_NORM + 8
        total, status = 0.0, OK
        for i in range(word(d, LAYERS)):
            p = d + head + i * layer
            status |= call_kernel(squares, (word(p, 0) * word(p, 1), word(p, 5), norm))
            total += double(word(norm, 0))
            status |= call_kernel(squares, (word(p, 1), word(p, 6), norm))
            total += double(word(norm, 0))
        found, limit = math.sqrt(total), double(word(d, MAX_NORM))
        atomics.store(norm, bits_of(found))
        if status == OK and found > limit and found < math.inf:
            status = call_kernel(share, (
                SCALE_MODE, word(d, OPTIMIZER + 1), CHUNK, word(d, OPTIMIZER + 3), 0, 0, 0,
                bits_of(limit / found),
            ))  # fmt: skip
        return status

    return kernel_clip_layers


def step(dtype: str) -> Any:
    """Descriptor: the address of the table. Parameters change when all else is done."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    gemm, backward = slot(GEMM, dtype), slot(BACKWARD_KERNEL, dtype)
    clip, head, layer = slot(CLIP_LAYERS, dtype), 8 * len(HEAD), 8 * len(LAYER)
    X, TARGETS, LOSS, STEPS = (PLACE[n] for n in ("x", "targets", "loss", "steps"))
    LOSS_SLOT, OPTIMIZER = PLACE["loss_slot"], PLACE["optimizer_slot"]
    COUNTS, MAX_NORM = PLACE["counts_steps"], PLACE["max_norm"]
    BLOCK, LAYERS = PLACE["block"], PLACE["layers"]
    form, derivative, fork_join = slot(FORM_H, dtype), slot(BACKWARD, dtype), FORK_JOIN
    kc = KC[dtype]

    def kernel_step(d):  # type: ignore[no-untyped-def]
        _ = version
        d = word(d, 0)
        n, layers = word(d, 0), word(d, LAYERS)
        x, x_row, x_column = word(d, X), word(d, X + 1), word(d, X + 2)
        status = OK
        p = d + head
        for _layer in range(layers):
            m, row = word(p, 1), word(p, 10)
            status |= call_kernel(gemm, (
                n, m, word(p, 0), x, x_row, x_column, word(p, 2), m * size, size,
                word(p, 7), row, size, word(p, 8), row, word(p, 3), word(p, 4), 0, 0,
            ))  # fmt: skip
            x, x_row, x_column = word(p, 7), row, size
            p += layer
        p -= layer
        if status == OK:
            status = call_kernel(word(d, LOSS_SLOT), (
                n, word(p, 1), x, x_row, size,
                word(d, TARGETS), word(d, TARGETS + 1), word(d, TARGETS + 2),
                word(p, 9), x_row, d + 8 * LOSS, word(d, LOSS_SLOT + 1),
            ))  # fmt: skip
        if status != OK:
            return status

        last = p
        for r in range(0, n, word(d, BLOCK)):
            rows = least(word(d, BLOCK), n - r)
            add = 1 if r > 0 else 0
            p = last
            for _layer in range(layers):
                m, row = word(p, 1), word(p, 10)
                below = p - layer
                from_x, from_x_row, from_x_column = word(d, X), word(d, X + 1), word(d, X + 2)
                dx, dx_row = 0, 0
                if p != d + head:
                    from_x, from_x_row, from_x_column = word(below, 7), word(below, 10), size
                    dx, dx_row = word(below, 9), from_x_row
                g = word(p, 9) + pick(1 if p == last else 0, r * row, 0)
                db = word(p, 6)
                if word(p, 4) != 0:
                    # H in place of G, db on the way: the one pass that db, a sum in the order of
                    # the rows, costs anyway
                    saved = pick(word(p, 8), word(p, 8), word(p, 7)) + r * row
                    status |= ensure(derivative + 2 * word(p, 4))
                    parts = threads_in_force() if rows * m >= SHARED else 1
                    wide = least(kc, most(64, ceil_div(m, parts)))
                    plan = in_memory((rows, m, g, row, size, saved, row, size, g, row,
                                      db, add, word(p, 4), wide))  # fmt: skip
                    if status == OK:
                        status = call_kernel(fork_join, (form, plan, ceil_div(m, wide), rows * m))
                    db = 0
                status |= call_kernel(backward, (
                    rows, word(p, 0), m, g, row, size,
                    from_x + r * from_x_row, from_x_row, from_x_column,
                    word(p, 2), m * size, size, 0, 0, 0, dx, dx_row, size,
                    word(p, 5), m * size, size, db, 0, 0, add, add,
                ))  # fmt: skip
                p = below
        if status == OK and word(d, MAX_NORM) != 0:
            status = call_kernel(clip, (d,))
        if status != OK:
            return status
        step = word(d, STEPS) + 1
        p = d + 8 * OPTIMIZER + 8
        status = call_kernel(word(d, OPTIMIZER), (
            word(p, 0), word(p, 1), word(p, 2), word(p, 3), word(p, 4),
            pick(word(d, COUNTS), step, word(p, 5)),
            word(p, 6), word(p, 7), word(p, 8), word(p, 9), word(p, 10),
        ))  # fmt: skip
        if status == OK:
            atomics.store(d + 8 * STEPS, step)
        return status

    return kernel_step


CLIP_LAYERS = register("clip_layers", clip_layers)
STEP = register("step", step)

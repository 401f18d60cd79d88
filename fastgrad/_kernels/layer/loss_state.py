"""The state of a loss: what is kept in scratch for the rows in the lanes, and for the batch."""

from __future__ import annotations

from llvmlite import ir

from ..codegen.memory import word_pointer
from ..codegen.simd import FLOAT, I64, Simd, Value, for_range, i64
from ..formulas import elementary
from .args import Loss
from .loss_sums import BatchSum, kept_sum, narrowed, wide_of

# Kinds of losses, the order of their kernels
FROM_LABELS, PROBABILITIES, BINARY, SQUARES, POSITIVE = range(5)
SOFTMAX = (FROM_LABELS, PROBABILITIES)
# The state: vectors of the dtype, numbers of float64, vectors of float64.
SCALE, KEEP, SHARE, MAXIMUM, LABELS, LOGIT = range(6)
RATE, SUMS = 6, 7  # the SCALE of a weight of 1; a BatchSum
TOTAL, ROW_LOSS, WEIGHT = 8, 12, 16  # two RowSums
ZERO = ir.Constant(FLOAT[8], 0.0)
STATE = 20  # vectors of the dtype that have room for all of it


def get(ops: Simd, state: ir.Value, which: int) -> Value:
    return ops.load(state, which * ops.bytes)


def put(ops: Simd, x: Value, state: ir.Value, which: int) -> None:
    ops.store(x, state, which * ops.bytes)


def number_of(ops: Simd, x: ir.Value) -> Value:
    """A double, rounded to the dtype, or an integer in every lane."""
    kind = FLOAT[ops.itemsize]
    if x.type == I64:
        x = ops.builder.sitofp(x, kind)
    elif ops.itemsize == 4:
        x = ops.builder.fptrunc(x, kind)
    return Value(ops, ops.spread(x))


def place_of(ops: Simd, state: ir.Value, which: int) -> ir.Value:
    return ops.builder.add(state, i64(which * ops.bytes))


def begin(ops: Simd, kind: int, state: ir.Value, p: Loss, divisor: ir.Value) -> None:
    """For all rows. Smoothed targets are (1 - s)*target + s/m (Szegedy et al. 2016)."""
    b = ops.builder
    s = b.bitcast(p.smoothing, FLOAT[8])
    of_gradient = ir.Constant(FLOAT[8], 2.0 if kind == SQUARES else 1.0)
    rate = b.fdiv(of_gradient, b.bitcast(divisor, FLOAT[8]))
    b.store(rate, ops.pointer(place_of(ops, state, RATE), 0, FLOAT[8]))
    put(ops, number_of(ops, rate), state, SCALE)
    put(ops, number_of(ops, b.fsub(ir.Constant(FLOAT[8], 1.0), s)), state, KEEP)
    put(ops, number_of(ops, b.fdiv(s, b.sitofp(p.m, FLOAT[8]))), state, SHARE)
    BatchSum(b, ops.has_fma).keep(place_of(ops, state, SUMS))


def begin_rows(ops: Simd, state: ir.Value) -> None:
    put(ops, ops.constant(-elementary.INF), state, MAXIMUM)
    put(ops, ops.constant(0.0), state, LOGIT)
    wide = wide_of(ops)
    for which in (TOTAL, ROW_LOSS):
        for i in range(2):
            wide.store(wide.constant(0.0), place_of(ops, state, which), i * wide.bytes)


def begin_labels(
    ops: Simd, state: ir.Value, rows: ir.Value, labels: ir.Value, step: ir.Value
) -> None:
    b, element = ops.builder, ops.int.element
    all_lanes = b.icmp_signed("==", rows, i64(ops.lanes))
    dense = b.and_(all_lanes, b.icmp_signed("==", step, i64(8)))
    with b.if_else(dense) as (vector, one_by_one):
        with vector:
            kind = ir.VectorType(I64, ops.lanes)
            numbers = b.load(ops.pointer(labels, 0, kind), align=8)
            numbers = b.trunc(numbers, ops.int) if ops.itemsize == 4 else numbers
            to = ops.pointer(place_of(ops, state, LABELS), 0, ops.int)
            b.store(numbers, to, align=ops.itemsize)
        with one_by_one, for_range(b, rows) as i:
            label = b.load(word_pointer(b, b.add(labels, b.mul(i, step))))
            label = b.trunc(label, element) if ops.itemsize == 4 else label
            to = b.add(state, b.mul(i, i64(ops.itemsize)))
            b.store(label, ops.pointer(to, LABELS * ops.bytes, element))


def begin_weights(
    ops: Simd, state: ir.Value, rows: ir.Value, weights: ir.Value, step: ir.Value
) -> None:
    """The weights of these rows; each times RATE, rounded, is what its gradient is scaled with."""
    b, wide = ops.builder, wide_of(ops)
    to = place_of(ops, state, WEIGHT)
    wide.store(wide.constant(0.0), to)
    with for_range(b, rows) as i:
        weight = b.load(wide.pointer(b.add(weights, b.mul(i, step)), 0, FLOAT[8]), align=1)
        b.store(weight, wide.pointer(b.add(to, b.mul(i, i64(8))), 0, FLOAT[8]))
    scales = wide.load(to) * wide.broadcast(place_of(ops, state, RATE))
    put(ops, narrowed(ops, scales), state, SCALE)


def leave_out(
    ops: Simd, state: ir.Value, p: Loss, r: ir.Value, rows: ir.Value, m: ir.Value
) -> None:
    """Rows of the label ``ignored``: no loss, and a gradient of +0.0 whatever it is."""
    b, element = ops.builder, FLOAT[ops.itemsize]
    with for_range(b, rows) as i:
        row = b.add(r, i)
        label = b.load(word_pointer(b, b.add(p.targets.data, b.mul(row, p.targets.row))))
        with b.if_then(b.icmp_signed("==", label, p.ignored)):
            to = b.add(place_of(ops, state, ROW_LOSS), b.mul(i, i64(8)))
            b.store(ir.Constant(FLOAT[8], 0.0), ops.pointer(to, 0, FLOAT[8]))
            grad = b.add(p.grad.data, b.mul(row, p.grad.row))
            with for_range(b, m) as c:
                at = ops.pointer(b.add(grad, b.mul(c, i64(ops.itemsize))), 0, element)
                b.store(ir.Constant(element, 0.0), at, align=ops.itemsize)


def end_rows(ops: Simd, state: ir.Value, weights: ir.Value) -> None:
    """ROW_LOSS becomes the losses of rows, times their weights if there are."""
    b, wide, at = ops.builder, wide_of(ops), place_of(ops, state, ROW_LOSS)
    value = kept_sum(ops, at)
    wide.store(value, at)
    with b.if_then(b.icmp_signed("!=", weights, i64(0))):
        wide.store(value * wide.load(place_of(ops, state, WEIGHT)), at)
